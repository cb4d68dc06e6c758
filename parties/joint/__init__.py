"""Keys that nobody holds alone: the parties' joint protocol, from the first word to the decision.

`codes` opens an application and makes its join codes; `member` plays one party in it, with files
of its own; `session` plays several in one process. Below them, `protocol` is the state machine
without any input or output, `messages` are what it says, and `channel` seals them.
"""
