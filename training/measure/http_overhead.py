"""The cost of HTTP besides the evaluation, call by call, for an application on a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.interface import DECIDE, EXPLAIN
from features.encoding import Bits, Layout
from parties.connection import Connection
from parties.single_key.session import ApplicationSession
from parties.store import PartyStore
from training.measure.remote import Remote
from training.measure.running_server import running_server
from utils.environments import interpreter_of

_ROUNDS = 11


def http_overhead(folder: Path, bits: Bits, engine: str = "concrete") -> dict[str, float]:
    """Return the median milliseconds of each call, without the engine's work, by name.

    Starts `server.py` and a process for the parties with the engine's interpreter. Raises
    ServerUnreachable if the server does not start.
    """
    python = interpreter_of(engine)
    with Remote("the parties", HttpOverhead, folder, bits, engine, python=python) as parties:
        found: dict[str, float] = parties.call("measure")
        return found


class HttpOverhead:
    """The parties' side of the measurement, run where the engine can be imported."""

    def __init__(self, folder: Path, bits: Bits, engine: str) -> None:
        self.folder, self.bits, self.engine = folder, bits, engine

    def measure(self) -> dict[str, float]:
        """Return the milliseconds by the name of the call."""
        with running_server(self.folder, self.engine) as server:
            connection = Connection(server.client(), PartyStore(server.data / "parties"))
            return _measure(connection, self.bits)


def _measure(connection: Connection, bits: Bits) -> dict[str, float]:
    layout = connection.layout
    records = record_of(layout, bits)
    milliseconds: dict[str, list[float]] = {}

    def note(call: str, seconds: float) -> None:
        milliseconds.setdefault(call, []).append(seconds * 1000)

    for round_ in range(_ROUNDS + 1):
        if round_ == 1:
            milliseconds.clear()  # the first application warms the processes up
        session = ApplicationSession.open(connection)
        for message in session.make_keys().messages:
            if message.what == "evaluation key":
                note("send_file, evaluation key", message.seconds)
        for party, record in records.items():
            for message in session.send(party, record).messages:
                if message.what == "encrypted inputs":
                    note("send_file, encrypted inputs", message.seconds)
        for program in (DECIDE, EXPLAIN):
            if program == EXPLAIN:
                note("get_output", session.open_decision().messages[0].seconds)
            run = session.run(program)
            if program == EXPLAIN:  # the first run may still expand the keys
                note("run_fhe, beside evaluation", run.waited - run.seconds)
        session.erase()
    return {call: float(np.median(values)) for call, values in milliseconds.items()}


def record_of(layout: Layout, bits: Bits) -> dict[str, dict[str, object]]:
    """Return a record for each party that encodes to the given row of bits, shape (n_bits,)."""
    records: dict[str, dict[str, object]] = {party: {} for party in layout.schema.party_names}
    for code, state in zip(layout.codes, layout.states(bits), strict=True):
        records[code.party][code.column.name] = code.value(int(state) - code.first_state)
    return records
