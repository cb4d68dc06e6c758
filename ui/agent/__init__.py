"""A party's own page."""
