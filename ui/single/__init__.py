"""The page that plays all parties, for engines with one key holder."""
