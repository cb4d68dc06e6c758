"""A data owner's page."""
