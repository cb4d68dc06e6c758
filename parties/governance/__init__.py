"""The agents of data owners and institutions: sessions, requests, permits, and their uses."""
