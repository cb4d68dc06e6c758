"""Metrics, the operator's overview, and the operator's command line."""
