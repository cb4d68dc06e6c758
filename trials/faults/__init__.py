"""`make faults`: random faults of all kinds while applications are running."""
