"""Several lenders train one gradient-boosted model together, from secure sums of histograms."""
