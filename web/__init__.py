"""Parts of HTTP servers that several programs of this project use."""
