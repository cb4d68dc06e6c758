"""Models that were trained elsewhere on raw columns, as boosters over a schema's bits."""
