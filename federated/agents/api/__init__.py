"""The HTTP interface of a lender's agent, for the lender's own programs."""
