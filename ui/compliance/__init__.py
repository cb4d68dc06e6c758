"""The page for compliance: requests, decisions, uses, the policy, the log's health, reports."""
