"""The browser demonstration: forms from the schema, the five steps, and the message log."""
