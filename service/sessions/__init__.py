"""Sessions between data owners and institutions: sealed messages, and the log of uses."""
