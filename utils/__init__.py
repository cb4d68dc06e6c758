"""Small helpers for all packages, independent of any domain."""
