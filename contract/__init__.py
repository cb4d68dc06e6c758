"""The HTTP contract between the server and the parties."""
