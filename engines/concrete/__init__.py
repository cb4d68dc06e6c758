"""Concrete's TFHE with table lookups: one key holder, a few programmable bootstraps a decision."""
