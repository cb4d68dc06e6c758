"""The levelled engine: TFHE without bootstrapping, under a joint key of all parties."""
