"""Fault trials and load of requests, permits and releases; run with `python -m trials.uses`."""
