"""Asking for, allowing, doing and proving every use of a person's data: no HTTP, no database."""
