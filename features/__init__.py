"""The public contract of the data: the schema, and how a record becomes bits."""
