"""HTTP routes, one file for each group of calls, and the OpenAPI document."""
