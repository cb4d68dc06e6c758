"""Drafting a schema for a lender's CSV file."""
