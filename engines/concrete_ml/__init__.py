"""The Concrete ML engine: its own quantised XGBoost, which evaluates every tree encrypted."""
