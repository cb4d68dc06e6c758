"""The benchmark: engines in turn, whole applications over HTTP, scaling, and noise."""
