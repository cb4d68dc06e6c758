"""Differential privacy of a run: the noise that lenders add, and the budget that a run spends."""
