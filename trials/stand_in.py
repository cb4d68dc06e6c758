"""A stand-in engine for the server's tests, controlled by orders in the messages.

A payload such as `sleep 2` in the message of the first party is an order to the evaluation;
`check abort` is one to the check. Its slots have every shape that an engine may have.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from engines.envelope import DIGEST_BYTES, Header, digest_of, seal, unseal_as
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    PROGRAMS,
    EngineFacts,
    ProgramFacts,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from features.schema import Schema
from settings import ROOT
from utils.errors import DeploymentMissing, EvaluationFailed

MODEL = "stand-in-1"
CLIENT_FILES = b"PK\x05\x06" + bytes(18)
SMALL = 40_000
LARGE = 30_000_000
SLOW_KEY = b"slow key"
"""The end of an evaluation key that takes SLOW_KEY_SECONDS to load."""
SLOW_KEY_SECONDS = 0.3

FACTS = EngineFacts(
    name="clear",
    label="Stand-in",
    encrypted=False,
    joint_keys=False,
    secret_key="Nobody: there is none.",  # noqa: S106 (a sentence)
    opened="Everything.",
    explains_by="program",
)


def public_model() -> PublicModel:
    schema = Schema.load(ROOT / "features" / "credit_card.json")
    first, *_ = schema.party_names
    slots = [Slot(party=first, file_name=EVALUATION_KEY, needed_for=PROGRAMS, maximum_bytes=LARGE)]
    slots += [
        Slot(party=party, file_name=ENCRYPTED_INPUTS, needed_for=PROGRAMS, maximum_bytes=SMALL)
        for party in schema.party_names
    ]
    slots.append(
        Slot(
            party=schema.explained_party,
            file_name=EXPLANATION_INPUTS,
            needed_for=(EXPLAIN,),
            maximum_bytes=SMALL,
        )
    )
    facts = ProgramFacts(outputs=("score",), score_bits=8, scale=10.0)
    return PublicModel(
        engine=FACTS,
        model_version=MODEL,
        schema_=schema,
        programs=dict.fromkeys(PROGRAMS, facts),
        slots=tuple(slots),
        client_sha256=hashlib.sha256(CLIENT_FILES).hexdigest(),
        versions={"stand_in": "1"},
    )


def header(party: str, file_name: str, model: str = MODEL) -> Header:
    return Header(engine="clear", model=model, kind=file_name, party=party)


def message(party: str, file_name: str, payload: bytes = b"bits", model: str = MODEL) -> bytes:
    return seal(header(party, file_name, model), payload)


def result_of(program: str, messages: Mapping[tuple[str, str], bytes]) -> bytes:
    """Return the stand-in's result: the digest of all its inputs."""
    total = hashlib.sha256()
    for key in sorted(messages):
        total.update(repr(key).encode() + messages[key])
    return seal(_result(program), total.digest())


def _result(program: str) -> Header:
    return Header(engine="clear", model=MODEL, kind="result", program=program)


def told(result: bytes) -> dict[str, Any]:
    """Return the decoded result of the order `tell`."""
    answer: dict[str, Any] = json.loads(bytes(unseal_as(_result(DECIDE), result)))
    return answer


class StandIn(ServerEngine):
    """The engine; it keeps the digest of every evaluation key until told to forget it."""

    def __init__(self) -> None:
        self.facts = FACTS
        self.public = public_model()
        self._kept: set[bytes] = set()

    def client_files(self) -> bytes:
        return CLIENT_FILES

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        payload = bytes(unseal_as(header(slot.party, slot.file_name), message, intact)[:20])
        if payload.startswith(b"check abort"):
            os.abort()
        if payload.startswith(b"check fault"):
            raise RuntimeError("a fault of the engine")

    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        order = self._order(messages)
        self.load_key(messages)
        match order:
            case [b"sleep", seconds]:
                self._sleep(float(seconds), progress)
            case [b"runs", count, seconds]:
                for run in range(int(count)):
                    time.sleep(float(seconds))
                    if progress is not None:
                        progress((run + 1) / int(count))
            case [b"abort"]:
                os.abort()
            case [b"refuse"]:
                raise EvaluationFailed("The stand-in was told to fail.")
            case [b"fault"]:
                raise RuntimeError("a fault of the engine")
            case [b"allocate", mebibytes]:
                bytearray(int(mebibytes) << 20)
            case [b"large", size]:
                return seal(_result(program), bytes(int(size)))
            case [b"tell"]:
                return seal(_result(program), json.dumps(self._told()).encode())
        return result_of(program, messages)

    def load_key(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        for (_, name), message in messages.items():
            if name == EVALUATION_KEY and digest_of(message) not in self._kept:
                if message[:-DIGEST_BYTES].endswith(SLOW_KEY):
                    time.sleep(SLOW_KEY_SECONDS)
                self._kept.add(digest_of(message))

    def runs(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> int:
        order = self._order(messages)
        return int(order[1]) if order[:1] == [b"runs"] else 1

    def _order(self, messages: Mapping[tuple[str, str], bytes]) -> list[bytes]:
        party = self.public.schema_.party_names[0]
        sealed = messages[party, ENCRYPTED_INPUTS]
        return bytes(unseal_as(header(party, ENCRYPTED_INPUTS), sealed)[:20]).split()

    def forget(self, digests: Collection[bytes]) -> None:
        self._kept -= set(digests)

    def _told(self) -> dict[str, object]:
        """Return the facts about the process for the order `tell`."""
        return {
            "pid": os.getpid(),
            "niceness": os.nice(0),
            "kept": sorted(digest.hex() for digest in self._kept),
        }

    def _sleep(self, seconds: float, progress: Progress | None) -> None:
        steps = 10
        name = Path("/proc/self/comm")
        name.write_text("sleep")  # so that tests find the process that evaluates
        for step in range(steps):
            if progress is not None:
                progress(step / steps)
            time.sleep(seconds / steps)
        name.write_text("awake")


def load(name: str, deployment: Path) -> ServerEngine:
    if deployment.name == "missing":
        raise DeploymentMissing(f"There is nothing in {deployment}; run `make compile`.")
    if deployment.name == "abort":
        os.abort()
    return StandIn()
