"""Persistent data: the database, the blob store, the server's folder, and disk space."""
