"""An institution's page."""
