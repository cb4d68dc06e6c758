"""The parties' side: what one party does on its own machine, and how it talks to the server."""
