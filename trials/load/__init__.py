"""`make load`: many applications at once, every answer compared, every call timed."""
