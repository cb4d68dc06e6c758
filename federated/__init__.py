"""Training one boosted model by several lenders, who show each other sums only."""
