"""The levelled engine: TFHE without bootstrapping, under a key that nobody holds alone."""
