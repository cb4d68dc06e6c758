"""Compilation of an XGBoost booster to an integer program, without any network or cryptography.

booster -> integer trees -> polynomial in bits -> plan (linear part and 4-bit tables) -> program.
"""
