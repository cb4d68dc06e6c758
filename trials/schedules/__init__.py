"""Random schedules of real parties, faults and a dishonest server: `python -m trials.schedules`.

No party may ever give two different decryption shares for one program, whatever is killed, put
back, delayed, repeated or offered to it. ledger.py has the invariants, schedule.py the choices.
"""
