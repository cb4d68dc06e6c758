"""Concrete ML's own quantised XGBoost, the known way: every tree walked under encryption."""
