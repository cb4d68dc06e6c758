"""`make load`: many concurrent applications; every result is compared and every call timed."""
