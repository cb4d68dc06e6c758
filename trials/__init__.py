"""Trials of the whole server: `make load` (concurrent load) and `make faults` (random faults).

They are offline tools like training/, imported only by their tests. Each starts real servers in
separate processes and calls them by HTTP over the loopback interface. `python -m trials.signs`
needs no server: it compares many encrypted signs with the integer reference. `python -m
trials.schedules` plays parties under random faults, most of them without processes.
"""
