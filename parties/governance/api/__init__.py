"""HTTP interfaces of the agents of data owners and institutions, each for its own person."""
