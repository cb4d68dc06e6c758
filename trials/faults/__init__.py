"""`make faults`: everything that can go wrong, at random, while applications are under way."""
