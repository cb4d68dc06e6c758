"""HTTP routes, one module per group of endpoints, and the OpenAPI document."""
