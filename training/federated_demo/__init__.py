"""A demonstration: five lenders train one model together, and it decides on encrypted data."""
