"""Applications: rules, parties' tokens, slots and uploads, relayed messages, activity log."""
