"""Times and sizes of the levelled engine's steps: keys, encryption, evaluation and opening.

All parties and the server run in one process, so that only the steps themselves are timed. Times
are medians over the rounds; a round makes new keys and decides and explains one applicant. If the
deployment opens signs only, the steps include the masks, the masked opening and the comparison.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engines.deployment import Deployment
from engines.envelope import unseal
from engines.interface import (
    CHALLENGE,
    ENCRYPTED_INPUTS,
    MASKED_OF,
    MASKS_OF,
    PUBLIC_KEY,
    SIGN_OF,
)
from engines.levelled.ceremony import CEREMONY_STEPS, JointKeys, make_joint_keys
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.messages import NAME, split_inputs
from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.selection import SelectionTree
from engines.levelled.well_formed import check_ciphertext
from engines.registry import load_joint_party_engine, load_server_engine
from features.encoding import Bits
from training.opened import opened_values
from utils.errors import EvaluationFailed

T = TypeVar("T")
Messages = dict[tuple[str, str], bytes]
"""Sealed messages by (party, file name)."""

_DIGESTS = "compare the messages' digests"
_CHECK = "check that the inputs are bits"


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
        keys = self._keys()
        public_key, first = keys.public_key, self._parties[0]
        messages: Messages = {(first, PUBLIC_KEY): self._engine.seal_public_key(first, public_key)}
        self._bytes["public key"] = len(messages[first, PUBLIC_KEY])
        for party in self._parties:
            own = bits[self._layout.party_bits(party)]
            message = self._timed(f"encrypt, {party}", self._engine.encrypt, party, own, public_key)
            messages[party, ENCRYPTED_INPUTS] = message
            self._bytes[f"inputs, {party}"] = len(message)
        inputs = [messages[party, ENCRYPTED_INPUTS] for party in self._parties]
        payloads = self._timed(_DIGESTS, self._checked, inputs)
        messages |= self._challenge(public_key, messages, payloads)
        for name in self._trees:
            evaluator = self._evaluators[name]
            ciphertexts = self._unpacked(name, payloads)
            operands = self._timed(f"transform, {name}", evaluator.prepare, ciphertexts)
            self._timed(f"selection tree, {name}", evaluator.evaluate, [operands])
            opened = name
            result = self._evaluated(name, messages)
            if self._server.public.masked(name):
                opened = SIGN_OF[name]
                masks = self._masks(name, keys)
                result = self._evaluated(
                    opened, {**messages, **masks, **self._masked(name, result, keys)}
                )
            self._open(name, opened, result, keys, bits)

    def _timed(self, what: str, step: Callable[..., T], *arguments: Any) -> T:
        start = time.perf_counter()
        value = step(*arguments)
        self._seconds.setdefault(what, []).append(time.perf_counter() - start)
        return value

    def _keys(self) -> JointKeys:
        """Make the joint keys; steps with the same result for every party are run once."""

        def timed(step: str, function: Callable[..., T], *arguments: Any) -> T:
            return self._timed(f"keys, {step}", function, *arguments)

        keys = make_joint_keys(self._engine, self._parties, b"benchmark", timed)
        self._bytes["key share"] = len(keys.shares[self._parties[0]].share)
        return keys

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
            parts.append(split_inputs(payload, bits, self._parameters, needed)[1].decode())
        return Ggsw.joined(parts)

    def _challenge(
        self, public_key: bytes, messages: Messages, payloads: list[memoryview]
    ) -> Messages:
        """Return the challenge of the check of the inputs, if there is one; times the check."""
        if not self._server.public.checked:
            return {}
        digests = {
            party: hashlib.sha256(messages[party, ENCRYPTED_INPUTS]).digest()
            for party in self._parties
        }
        nonces = {party: os.urandom(SEED_BYTES) for party in self._parties}
        context = hashlib.sha256(public_key).digest()
        step = "challenge of the check"
        sealed = self._timed(step, self._engine.seal_challenge, context, digests, nonces)
        self._bytes["challenge"] = len(sealed)
        uploads = {}
        for party, payload in zip(self._parties, payloads, strict=True):
            own = self._layout.party_bits(party)
            bits = int(own.stop - own.start)
            uploads[party] = split_inputs(payload, bits, self._parameters, np.arange(bits))[1]
        key = PublicKey.from_bytes(public_key, self._parameters)
        seed = bytes(unseal(sealed)[1])
        self._timed(_CHECK, check_ciphertext, key, uploads, self._layout, seed, self._parameters)
        return {(self._parties[0], CHALLENGE): sealed}

    def _evaluated(self, program: str, messages: Messages) -> bytes:
        result = self._timed(f"evaluate, {program}", self._server.evaluate, program, messages)
        self._bytes[f"result, {program}"] = len(result)
        return result

    def _masks(self, name: str, keys: JointKeys) -> Messages:
        """Return all parties' encrypted masks."""
        masks = {
            (party, MASKS_OF[name]): self._timed(
                f"masks, {name}", self._engine.encrypt_masks, name, party, keys.public_key, secret
            )
            for party, secret in keys.secrets.items()
        }
        self._bytes[f"masks, {name}"] = len(masks[self._parties[0], MASKS_OF[name]])
        return masks

    def _masked(self, name: str, result: bytes, keys: JointKeys) -> Messages:
        """Open a result under the masks; returns the message with the masked scores."""
        parts = self._parts(name, result, keys)
        step, first = f"open, add up, {name}", self._parties[0]
        sealed = self._timed(step, self._engine.seal_masked, name, result, parts)
        self._bytes[f"masked scores, {name}"] = len(sealed)
        return {(first, MASKED_OF[name]): sealed}

    def _parts(self, program: str, result: bytes, keys: JointKeys) -> dict[str, bytes]:
        """Return all parties' decryption shares of a program's result."""
        parts = {
            party: self._timed(
                f"open, part, {program}",
                self._engine.partial,
                program,
                result,
                party,
                keys.public_key,
                keys.shares[party].secret,
                keys.pairwise[party],
            )
            for party in self._parties
        }
        self._bytes[f"part in opening, {program}"] = len(parts[self._parties[0]])
        return parts

    def _open(self, name: str, final: str, result: bytes, keys: JointKeys, bits: Bits) -> None:
        """Open the result of `final`, which readers of `name` learn, and compare it."""
        parts = self._parts(final, result, keys)
        opened = self._timed(f"open, add up, {final}", self._engine.combine, final, result, parts)
        scores = self._programs[name].scores(bits[None, :])[0]
        expected = opened_values(self._server.public, name, scores)
        if opened != expected:
            raise EvaluationFailed(f"{NAME} opened {opened}, but expected {expected} ({name}).")

    def figures(self) -> dict[str, Any]:
        """Return medians in seconds, and bytes, of all rounds so far (at least one)."""
        seconds = {what: float(np.median(values)) for what, values in self._seconds.items()}
        keys = {step: seconds[f"keys, {step}"] for step in CEREMONY_STEPS}
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
            "check_seconds": seconds.get(_CHECK),
            "programs": {
                name: {
                    "evaluate_seconds": seconds[f"evaluate, {name}"],
                    "transform_seconds": seconds[f"transform, {name}"],
                    "tree_seconds": seconds[f"selection tree, {name}"],
                    **self._opening(name, seconds),
                    **self._comparison(name, seconds),
                }
                for name in self._trees
            },
            "bytes": dict(self._bytes),
        }

    def _opening(self, program: str, seconds: dict[str, float]) -> dict[str, float]:
        part, add_up = (seconds[f"open, {step}, {program}"] for step in ("part", "add up"))
        return {
            "part_seconds": part,
            "add_up_seconds": add_up,
            "open_seconds": len(self._parties) * part + add_up,
        }

    def _comparison(self, name: str, seconds: dict[str, float]) -> dict[str, Any]:
        """Return the figures of a program's comparison; none if its scores are opened."""
        if not self._server.public.masked(name):
            return {}
        sign = SIGN_OF[name]
        return {
            "masks_seconds": seconds[f"masks, {name}"],
            "compare_seconds": seconds[f"evaluate, {sign}"],
            "sign": self._opening(sign, seconds),
        }
