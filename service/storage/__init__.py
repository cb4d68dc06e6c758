"""Persistent data: the database, the store of blobs, the server folder, the disk."""
