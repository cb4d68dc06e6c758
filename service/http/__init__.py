"""The server's own parts of the HTTP layer below the routes: hosts, upload forms, raw bodies."""
