"""A joint engine for trials of the protocol: additive keys over a prime, fast, without security.

The public key is g·S, where S is the sum of the parties' secrets and g comes from the common
randomness; a result is (r·g, r·g·S + score). Inputs travel in the clear. `python -m
trials.joint_stand_in` serves it over HTTP; settings by TRISEAL_*.
"""

from __future__ import annotations

from utils.command_line import run_command

import hashlib
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engines.envelope import Header, seal, unseal_as
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EXPLAIN,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PROGRAMS,
    PUBLIC_KEY,
    REASONS,
    SIGN_OF,
    EngineFacts,
    JointPartyEngine,
    KeyShare,
    ProgramFacts,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from features.encoding import Layout
from features.schema import Schema
from features.variations import explained_labels
from model.levels import LEVELS, levels_of
from settings import ROOT
from utils.errors import ForeignMessage, MalformedMessage

MODEL = "joint-stand-in"
SIGNS = "signs"
"""Name of a deployment's folder with which the served engine opens signs only."""
PRIME = 2**61 - 1
CLIENT_FILES = b"PK\x05\x06" + bytes(18)
FACTS = EngineFacts(
    name="stand_in",
    label="Joint stand-in",
    encrypted=True,
    joint_keys=True,
    secret_key="Nobody: it is a sum.",  # noqa: S106 (a sentence)
    opened="The score.",
    explains_by="program",
)
THRESHOLD = 12


EDGES = tuple(range(1, LEVELS))
"""Points at which the levels of reasons begin."""


def public_model(
    schema: Schema | None = None, model: str = MODEL, signs: bool = False, reasons: bool = True
) -> PublicModel:
    schema = schema or Schema.load(ROOT / "features" / "credit_card.json")
    first = schema.party_names[0]
    slots = [(first, PUBLIC_KEY), *((party, ENCRYPTED_INPUTS) for party in schema.party_names)]
    used = PROGRAMS if reasons else (DECIDE, EXPLAIN)
    needed: list[tuple[str, str, tuple[str, ...]]] = [(*slot, used) for slot in slots]
    programs = {
        DECIDE: ProgramFacts(outputs=("score",), score_bits=8, scale=10.0),
        EXPLAIN: ProgramFacts(outputs=explained_labels(schema), score_bits=8, scale=10.0),
    }
    if reasons:
        names = tuple(reason.name for reason in schema.stated_reasons)
        programs[REASONS] = ProgramFacts(outputs=names, score_bits=8, scale=10.0)
    if signs:
        for program, sign in ((program, SIGN_OF[program]) for program in used):
            opened = dict[str, Any](score_bits=1)
            if program == REASONS:
                opened = {"score_bits": (LEVELS - 1).bit_length(), "edges": EDGES}
            programs[sign] = programs[program].model_copy(update=opened)
            needed += [(party, MASKS_OF[program], (sign,)) for party in schema.party_names]
            needed.append((first, MASKED_OF[program], (sign,)))
        needed[0] = (first, PUBLIC_KEY, tuple(programs))
    return PublicModel(
        engine=FACTS,
        model_version=model,
        schema_=schema,
        programs=programs,
        slots=tuple(
            Slot(party=p, file_name=n, needed_for=f, maximum_bytes=10_000) for p, n, f in needed
        ),
        client_sha256=hashlib.sha256(CLIENT_FILES).hexdigest(),
        versions={},
    )


def header(kind: str, party: str | None = None, program: str | None = None) -> Header:
    return Header(engine="stand_in", model=MODEL, kind=kind, party=party, program=program)


def number(data: bytes) -> int:
    if len(data) != 8:
        raise MalformedMessage("A number of the stand-in has 8 bytes.")
    return int.from_bytes(data, "little") % PRIME


def pack(value: int) -> bytes:
    return (value % PRIME).to_bytes(8, "little")


def hashed(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"|".join(parts)).digest(), "little") % PRIME


def scores_of(program: str, public: PublicModel, inputs: Mapping[str, bytes]) -> list[int]:
    """Return integers that depend on every bit, so that a swapped input is noticed."""
    ones = sum(sum(bits) for bits in inputs.values())
    if program == REASONS:
        return [(ones * (3 + k)) % 11 - 3 for k in range(len(public.programs[program].outputs))]
    return [ones - THRESHOLD + k for k in range(len(public.programs[program].outputs))]


class JointStandIn(JointPartyEngine):
    facts = FACTS

    def __init__(self, public: PublicModel) -> None:
        self.public = public

    def _all(self, given: Mapping[str, bytes]) -> list[int]:
        if set(given) != set(self.public.schema_.party_names):
            raise MalformedMessage("There must be one of each party.")
        return [number(given[name]) for name in sorted(given)]

    def seed_share(self) -> bytes:
        return secrets.token_bytes(8)

    def common(self, context: bytes, seeds: Mapping[str, bytes]) -> bytes:
        self._all(seeds)
        return pack(hashed(context, *(seeds[name] for name in sorted(seeds))))

    def key_share(self, common: bytes) -> KeyShare:
        secret = secrets.randbelow(PRIME - 1) + 1
        return KeyShare(secret=pack(secret), share=pack(number(common) * secret))

    def collective_key(self, common: bytes, shares: Mapping[str, bytes]) -> bytes:
        return common + pack(sum(self._all(shares)))

    def _words(self, program: str, secret: bytes) -> list[int]:
        count = len(self.public.programs[program].outputs)
        return [hashed(secret, program.encode(), bytes([k])) for k in range(count)]

    def encrypt_masks(self, program: str, party: str, public_key: bytes, secret: bytes) -> bytes:
        words = b"".join(pack(word) for word in self._words(program, secret))
        return seal(header(MASKS_OF[program], party), words)

    def seal_masked(self, program: str, result: bytes, partials: Mapping[str, bytes]) -> bytes:
        _, values = self._result(program, result)
        self._all({name: part[:8] for name, part in partials.items()})
        if len({len(part) for part in partials.values()} | {8 * len(values)}) != 1:
            raise MalformedMessage("A masked share has one number per score.")
        rows = [[number(p[i : i + 8]) for i in range(0, len(p), 8)] for p in partials.values()]
        masked = [value - sum(column) for value, *column in zip(values, *rows, strict=True)]
        payload = b"".join(pack(value) for value in masked)
        return seal(header(MASKED_OF[program], self.public.schema_.party_names[0]), payload)

    def seal_public_key(self, party: str, public_key: bytes) -> bytes:
        return seal(header(PUBLIC_KEY, party), public_key)

    def encrypt(self, party: str, bits: np.ndarray, public_key: bytes) -> bytes:
        payload = secrets.token_bytes(16) + bits.astype(np.uint8).tobytes()
        return seal(header(ENCRYPTED_INPUTS, party), payload)

    def _result(self, program: str, result: bytes) -> tuple[int, list[int]]:
        payload = bytes(unseal_as(header("result", program=program), result))
        values = [number(payload[i : i + 8]) for i in range(0, len(payload), 8)]
        if len(values) != 1 + len(self.public.programs[program].outputs):
            raise MalformedMessage("The result has a wrong number of scores.")
        return values[0], values[1:]

    def check_result(self, program: str, result: bytes) -> None:
        self._result(program, result)

    def partial(
        self,
        program: str,
        result: bytes,
        party: str,
        public_key: bytes,
        secret: bytes,
        pairwise: Mapping[str, bytes],
    ) -> bytes:
        mask, _ = self._result(program, result)
        if set(pairwise) | {party} != set(self.public.schema_.party_names):
            raise ForeignMessage("A pairwise key is missing.")
        zero = sum(
            (1 if other > party else -1) * hashed(key, result) for other, key in pairwise.items()
        )
        part = mask * number(secret) + zero
        if self.public.masked(program):
            return b"".join(pack(part + word) for word in self._words(program, secret))
        return pack(part)

    def combine(
        self, program: str, result: bytes, partials: Mapping[str, bytes]
    ) -> tuple[float, ...]:
        _, values = self._result(program, result)
        opened = [(value - sum(self._all(partials))) % PRIME for value in values]
        return tuple(float(v if v < PRIME // 2 else v - PRIME) for v in opened)


def result_of(
    program: str, public: PublicModel, public_key: bytes, inputs: Mapping[str, bytes]
) -> bytes:
    """Return a sealed result, freshly randomised; `inputs` are bits by party."""
    return encrypted(program, public_key, scores_of(program, public, inputs))


def encrypted(program: str, public_key: bytes, scores: list[int]) -> bytes:
    g, key = number(public_key[:8]), number(public_key[8:])
    r = secrets.randbelow(PRIME)
    values = [r * g, *(r * key + score for score in scores)]
    payload = b"".join(pack(value) for value in values)
    return seal(header("result", program=program), payload)


def compared(program: str, payloads: list[bytes]) -> list[int]:
    """Return the comparison of each sum of masked scores and masks: a sign, or a level of points.

    `payloads` have one number for each output of the compared `program`.
    """
    rows = [[number(p[i : i + 8]) for i in range(0, len(p), 8)] for p in payloads]
    sums = [sum(column) % PRIME for column in zip(*rows, strict=True)]
    return [opened_of(program, v if v < PRIME // 2 else v - PRIME) for v in sums]


def opened_of(program: str, score: int) -> int:
    """Return the value that the comparison of a program opens in place of a score."""
    if program == REASONS:
        return int(levels_of(score, EDGES))
    return 0 if score >= 0 else -1


class JointStandInServer(ServerEngine):
    def __init__(self, signs: bool = False) -> None:
        self.facts = FACTS
        self.public = public_model(signs=signs)
        self._layout = Layout(self.public.schema_)

    def client_files(self) -> bytes:
        return CLIENT_FILES

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        unseal_as(header(slot.file_name, slot.party), message, intact)

    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        first, *_ = self.public.schema_.party_names
        key = bytes(unseal_as(header(PUBLIC_KEY, first), messages[first, PUBLIC_KEY]))
        if (base := MASKED_BY.get(program)) is not None:
            payloads = [
                bytes(unseal_as(header(name, party), message))
                for (party, name), message in messages.items()
                if name in (MASKS_OF[base], MASKED_OF[base])
            ]
            return encrypted(program, key, compared(base, payloads))
        inputs = {
            party: bytes(unseal_as(header(name, party), message))[16:]
            for (party, name), message in messages.items()
            if name == ENCRYPTED_INPUTS
        }
        return result_of(program, self.public, key, inputs)


def load(name: str, deployment: Path) -> ServerEngine:
    return JointStandInServer(deployment.name == SIGNS)


if __name__ == "__main__":
    from server import main
    from trials.joint_stand_in import load as importable  # by its name, for the workers

    run_command(lambda: main(importable, sys.argv[1:]))
