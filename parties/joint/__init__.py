"""The parties' joint protocol, from the first message to the decision; no party holds the key.

`codes` opens an application and makes its join codes; `member` plays one party in it, with files
of its own; `session` plays several in one process. Below them, `protocol` is the state machine
without any input or output, `messages` defines its messages, and `channel` seals them.
"""
