"""Training of one gradient-boosted model by several lenders, who exchange sums only."""
