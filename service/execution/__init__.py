"""Where evaluations happen: an interface, and its implementations on this machine and on Ray."""
