"""From an XGBoost booster to an integer program: no web and no cryptography in here.

booster -> integer trees -> polynomial in bits -> plan (linear part and 4-bit tables) -> program.
"""
