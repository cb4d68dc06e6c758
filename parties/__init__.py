"""The parties' side: the code that each party runs on its own machine, and the server's client."""
