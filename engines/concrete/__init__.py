"""The Concrete engine: TFHE with one key holder and a few table lookups per decision."""
