"""The browser demonstration: forms from the schema, the five steps, and what travelled."""
