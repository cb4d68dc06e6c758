"""Training of one gradient-boosted model by several lenders, none of which shows its rows."""
