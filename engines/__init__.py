"""The encrypted evaluators, behind the one interface of `engines.interface`."""
