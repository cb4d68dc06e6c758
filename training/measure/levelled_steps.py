"""Times and sizes of the levelled engine's steps: keys, encryption, evaluation and opening.

All parties and the server run in one process, so that only the steps themselves are timed. Times
are medians over the rounds; a round makes new keys and decides and explains one applicant.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engines.deployment import Deployment
from engines.envelope import unseal
from engines.interface import ENCRYPTED_INPUTS, PROGRAMS, PUBLIC_KEY
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import Ggsw
from engines.levelled.messages import NAME, split_inputs
from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.selection import SelectionTree
from engines.registry import load_joint_party_engine, load_server_engine
from features.encoding import Bits
from utils.errors import EvaluationFailed

T = TypeVar("T")

KEY_STEPS = (
    "seed share",
    "common randomness",
    "key share",
    "collective key",
    "part in the key check",
    "key check",
)
"""The steps of every party to make the keys, in order."""
_DIGESTS = "compare the messages' digests"


class LevelledSteps:
    """Measures one deployment's programs: `round` measures, `figures` returns the medians."""

    def __init__(self, folder: Path) -> None:
        """Load the engine; raises its loading errors."""
        deployment = Deployment.load(folder)
        self._layout = deployment.layout
        self._parties = deployment.schema.party_names
        self._parameters = Parameters.by_profile(deployment.engine_facts(NAME)["profile"])
        self._server = load_server_engine(NAME, folder)
        self._engine = load_joint_party_engine(self._server.public, self._server.client_files())
        self._programs = deployment.programs_of(NAME)
        self._trees = {name: SelectionTree.of(p) for name, p in self._programs.items()}
        self._evaluators = {n: Evaluator(tree, self._parameters) for n, tree in self._trees.items()}
        self._seconds: dict[str, list[float]] = {}
        self._bytes: dict[str, int] = {}

    def round(self, bits: Bits) -> None:
        """Make new keys and run one applicant, shape (n_bits,); raises EvaluationFailed."""
        public_key, secrets = self._keys()
        first = self._parties[0]
        messages = {(first, PUBLIC_KEY): self._engine.seal_public_key(first, public_key)}
        self._bytes["public key"] = len(messages[first, PUBLIC_KEY])
        for party in self._parties:
            own = bits[self._layout.party_bits(party)]
            message = self._timed(f"encrypt, {party}", self._engine.encrypt, party, own, public_key)
            messages[party, ENCRYPTED_INPUTS] = message
            self._bytes[f"inputs, {party}"] = len(message)
        inputs = [messages[party, ENCRYPTED_INPUTS] for party in self._parties]
        payloads = self._timed(_DIGESTS, self._checked, inputs)
        for name in PROGRAMS:
            evaluator = self._evaluators[name]
            ciphertexts = self._timed(f"unpack, {name}", self._unpacked, name, payloads)
            operands = self._timed(f"transform, {name}", evaluator.prepare, ciphertexts)
            self._timed(f"selection tree, {name}", evaluator.evaluate, [operands])
            result = self._timed(f"evaluate, {name}", self._server.evaluate, name, messages)
            self._bytes[f"result, {name}"] = len(result)
            self._open(name, result, public_key, secrets, bits)

    def _timed(self, what: str, step: Callable[..., T], *arguments: Any) -> T:
        start = time.perf_counter()
        value = step(*arguments)
        self._seconds.setdefault(what, []).append(time.perf_counter() - start)
        return value

    def _keys(self) -> tuple[bytes, dict[str, bytes]]:
        """Make the public key and the parties' secrets; every party does every step."""
        engine, first = self._engine, self._parties[0]
        steps = iter(KEY_STEPS)

        def everyone(step: Callable[..., T], *own: Callable[[str], Any]) -> dict[str, T]:
            name = f"keys, {next(steps)}"
            return {p: self._timed(name, step, *(of(p) for of in own)) for p in self._parties}

        seeds = everyone(engine.seed_share)
        common = everyone(engine.common, lambda _: b"benchmark", lambda _: seeds)
        keys = everyone(engine.key_share, common.__getitem__)
        shares = {party: key.share for party, key in keys.items()}
        public_keys = everyone(engine.collective_key, common.__getitem__, lambda _: shares)
        secrets = {party: key.secret for party, key in keys.items()}
        checks = everyone(engine.check_share, public_keys.__getitem__, secrets.__getitem__)
        everyone(engine.check_key, public_keys.__getitem__, lambda _: checks)
        self._bytes["key share"] = len(shares[first])
        return public_keys[first], secrets

    @staticmethod
    def _checked(messages: list[bytes]) -> list[memoryview]:
        """Return the payloads after checking their digests."""
        return [unseal(message)[1] for message in messages]

    def _unpacked(self, name: str, payloads: list[memoryview]) -> Ggsw:
        """Return the ciphertexts of all parties that a program needs."""
        parts, wanted = [], self._trees[name].bits
        for party, payload in zip(self._parties, payloads, strict=True):
            own = self._layout.party_bits(party)
            needed = wanted[(own.start <= wanted) & (wanted < own.stop)] - own.start
            bits = own.stop - own.start
            parts.append(split_inputs(payload, bits, self._parameters, needed)[1])
        return Ggsw.joined(parts)

    def _open(
        self, name: str, result: bytes, public_key: bytes, secrets: dict[str, bytes], bits: Bits
    ) -> None:
        pairs = {pair: os.urandom(SEED_BYTES) for pair in combinations(sorted(self._parties), 2)}
        parts = {}
        for party in self._parties:
            between = {
                other: pairs[min(party, other), max(party, other)]
                for other in self._parties
                if other != party
            }
            parts[party] = self._timed(
                f"open, part, {name}",
                self._engine.partial,
                name,
                result,
                party,
                public_key,
                secrets[party],
                between,
            )
        self._bytes[f"part in opening, {name}"] = len(parts[self._parties[0]])
        scores = self._timed(f"open, add up, {name}", self._engine.combine, name, result, parts)
        expected = tuple(float(s) for s in self._programs[name].scores(bits[None, :])[0])
        if scores != expected:
            raise EvaluationFailed(f"{NAME} opened {scores}, but expected {expected} ({name}).")

    def figures(self) -> dict[str, Any]:
        """Return medians in seconds, and bytes, of all rounds so far (at least one)."""
        seconds = {what: float(np.median(values)) for what, values in self._seconds.items()}
        keys = {step: seconds[f"keys, {step}"] for step in KEY_STEPS}
        slowest = max(keys, key=lambda step: keys[step])
        return {
            "rounds": len(self._seconds[_DIGESTS]),
            "keys": {
                "all_parties_seconds": len(self._parties) * sum(keys.values()),
                "one_party_seconds": sum(keys.values()),
                "step_seconds": keys,
                "slowest_step": slowest,
                "slowest_step_seconds": keys[slowest],
            },
            "encrypt_seconds": {p: seconds[f"encrypt, {p}"] for p in self._parties},
            "digests_seconds": seconds[_DIGESTS],
            "programs": {
                name: {
                    "evaluate_seconds": seconds[f"evaluate, {name}"],
                    "unpack_seconds": seconds[f"unpack, {name}"],
                    "transform_seconds": seconds[f"transform, {name}"],
                    "tree_seconds": seconds[f"selection tree, {name}"],
                    "part_seconds": seconds[f"open, part, {name}"],
                    "add_up_seconds": seconds[f"open, add up, {name}"],
                    "open_seconds": len(self._parties) * seconds[f"open, part, {name}"]
                    + seconds[f"open, add up, {name}"],
                }
                for name in PROGRAMS
            },
            "bytes": dict(self._bytes),
        }
