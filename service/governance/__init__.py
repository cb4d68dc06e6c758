"""The server's log, its policy, and the permits that it gives partners."""
