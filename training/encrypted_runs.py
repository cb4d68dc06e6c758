"""Complete encrypted applications in one process, without HTTP, for evaluation and benchmark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.deployment import Deployment
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    PUBLIC_KEY,
    REASONS,
    SIGN_OF,
    PartyEngine,
    ServerEngine,
)
from engines.registry import load_joint_party_engine, load_party_engine, load_server_engine
from features.encoding import Bits
from model.program import Program
from model.reference import reference_scores
from training.measure.joint_parties import JointParties
from training.opened import opened_values


@dataclass(frozen=True)
class Timed:
    """Opened values, and seconds to encrypt (all parties), to evaluate and to open.

    If only signs are opened, `encrypt` covers the masks too, `evaluate` the program, the check of
    the inputs and the comparison, and `open` both openings.
    """

    scores: tuple[float, ...]
    encrypt: float
    evaluate: float
    open: float


class EncryptedRuns:
    """One server and one set of keys; rows are encrypted party by party and evaluated."""

    def __init__(self, engine: str, folder: Path, shared: bool = False) -> None:
        """Load the engine, make keys and load them; raises the engine's loading errors.

        With `shared`, the levelled engine runs the programs that all engines share and opens
        their scores, so that they can be compared.
        """
        self.engine = engine
        self.deployment = Deployment.load(folder)
        start = time.perf_counter()
        self.server = _server(engine, self.deployment, shared)
        self.load_seconds = time.perf_counter() - start
        self.programs: dict[str, Program] = (
            self.deployment.programs if shared else self.deployment.programs_of(engine)
        )
        joint = self.server.facts.joint_keys
        self.party = _party(self.server, self.deployment.schema.party_names)
        start = time.perf_counter()
        self.keys = self.party.make_keys()
        self.key_seconds = time.perf_counter() - start
        holder = self.deployment.schema.party_names[0]
        key = PUBLIC_KEY if joint else EVALUATION_KEY
        self._keys = {(holder, key): self.keys.evaluation}
        start = time.perf_counter()
        self.server.load_key(self._keys)
        self.key_loading_seconds = time.perf_counter() - start
        self.upload_bytes: dict[str, int] = {}
        self._inputs: dict[tuple[str, str], bytes] = {}

    def decide(self, bits: Bits) -> Timed:
        """Encrypt one row of bits, shape (n_bits,), run the decision and open it."""
        layout, start = self.deployment.layout, time.perf_counter()
        self._inputs = {}
        for party in layout.schema.party_names:
            message = self.party.encrypt(party, bits[layout.party_bits(party)], self.keys.secret)
            self._inputs[party, ENCRYPTED_INPUTS] = message
            self.upload_bytes[party] = len(message)
        return self._run(DECIDE, time.perf_counter() - start)

    def explain(self, bits: Bits) -> Timed:
        """Run the explanation of the row decided last and open it; `bits` must be that row."""
        layout, start = self.deployment.layout, time.perf_counter()
        owner = layout.schema.explained_party
        own = bits[layout.party_bits(owner)]
        message = self.party.encrypt_explanation(own, self.keys.secret)
        if message is not None:
            self._inputs[owner, EXPLANATION_INPUTS] = message
        return self._run(EXPLAIN, time.perf_counter() - start)

    def reasons(self) -> Timed:
        """Run the reasons of the row decided last and open their points or levels."""
        return self._run(REASONS, 0.0)

    def _run(self, program: str, encrypt: float) -> Timed:
        messages, secret = {**self._keys, **self._inputs}, self.keys.secret
        spent = {"encrypt": encrypt, "evaluate": 0.0, "open": 0.0}
        final = program
        if (
            program == DECIDE
            and self.server.public.checked
            and isinstance(self.party, JointParties)
        ):
            with _added(spent, "encrypt"):
                messages |= self.party.challenge(messages, secret)
        if self.server.public.masked(program) and isinstance(self.party, JointParties):
            final = SIGN_OF[program]
            with _added(spent, "encrypt"):
                messages |= self.party.masks(program, secret)
            with _added(spent, "evaluate"):
                result = self.server.evaluate(program, messages)
            with _added(spent, "open"):
                messages |= self.party.masked(program, result, secret)
        with _added(spent, "evaluate"):
            result = self.server.evaluate(final, messages)
        with _added(spent, "open"):
            opened = self.party.open(final, result, secret)
        return Timed(opened, **spent)

    def expected(self, program: str, bits: Bits) -> tuple[float, ...]:
        """Return all values that the program opens, computed without encryption."""
        layout = self.deployment.layout
        if self.engine == "concrete_ml":
            from engines.concrete_ml.features import remaining_rows
            from engines.concrete_ml.reference import reference_scores as quantised_scores

            rows = bits[None, :] if program == DECIDE else remaining_rows(layout, bits)
            quantised = quantised_scores(self.deployment.folder, layout, rows)
            return tuple(float(score) for score in quantised)
        scores = reference_scores(self.programs[program], bits)
        return opened_values(self.server.public, program, scores)


@contextmanager
def _added(spent: dict[str, float], step: str) -> Iterator[None]:
    """Add the seconds spent in the context to a step's."""
    start = time.perf_counter()
    yield
    spent[step] += time.perf_counter() - start


def _server(engine: str, deployment: Deployment, shared: bool) -> ServerEngine:
    if shared and engine == "levelled":
        from engines.levelled.server import LevelledServer

        return LevelledServer(deployment, shared=True)
    return load_server_engine(engine, deployment.folder)


def _party(server: ServerEngine, parties: list[str]) -> PartyEngine:
    """Return an engine that acts for all parties."""
    if server.facts.joint_keys:
        return JointParties(load_joint_party_engine(server.public, server.client_files()), parties)
    return load_party_engine(server.public, server.client_files())


def same_scores(opened: tuple[float, ...], expected: tuple[float, ...]) -> bool:
    """Return True if all opened scores are correct.

    An engine that runs once per bin opens only the last ones, the highest bins.
    """
    return opened == (expected[len(expected) - len(opened) :] if expected else ())
