"""Random schedules of a training whose real processes are killed: `python -m trials.federated`.

Whatever is killed, stopped or started again, every tree must equal pooled training, and no two sums
of one level may be opened. registry.py has the faults, invariants.py and ledger.py the checks.
"""
