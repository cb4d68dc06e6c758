"""The server tried as it will be used: `make load` (many at once), `make faults` (all fails).

Offline tools like training/: they import whatever they need and nothing but their tests imports
them. Each starts real servers in processes of their own and speaks HTTP to them over the loopback.
"""
