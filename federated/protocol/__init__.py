"""The messages and state machines of a training, without network, clock or files."""
