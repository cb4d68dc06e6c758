"""Definitions shared by both halves of the engine: facts, headers, and payloads of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from engines.concrete.messages import facts as concrete_facts
from engines.envelope import Header
from engines.interface import DECIDE, EXPLAIN, EngineFacts
from engines.payload import join_parts
from utils.errors import MalformedMessage

NAME = "concrete_ml"
PROFILE = "quantised-trees"
RESULT = "result"
SPECS_FILE = "client.specs.json"
QUANTISERS_FILE = "quantisers.json"
LABEL = "Concrete ML (one key)"
PROGRAMS = (DECIDE, EXPLAIN)
"""The programs that the engine runs, of those that a deployment may have."""


def facts(key_holder: str) -> EngineFacts:
    """Return the engine's facts for a schema whose first party has the label `key_holder`."""
    return EngineFacts(
        name=NAME,
        label=LABEL,
        encrypted=True,
        joint_keys=False,
        secret_key=concrete_facts(key_holder, sign_only=False).secret_key,
        opened=(
            "Every tree's output, which the parties add up themselves: more than the score. An "
            "explanation opens the same for every bin above the applicant's own, and their number "
            "reveals that bin to the server."
        ),
        explains_by="rerun",
    )


def header(model: str, kind: str, party: str | None = None, program: str | None = None) -> Header:
    """Return a header for this engine's messages."""
    return Header(
        engine=NAME, profile=PROFILE, model=model, kind=kind, party=party, program=program
    )


def join_runs(parts: Sequence[bytes]) -> bytes:
    """Join one part per run of an explanation, prefixed with their number, one byte."""
    return bytes([len(parts)]) + join_parts(parts)


def split_runs(payload: memoryview, most: int) -> tuple[int, memoryview]:
    """Return the number of runs and the bytes of their parts; raises MalformedMessage."""
    if not len(payload) or payload[0] > most:
        raise MalformedMessage(
            f"An explanation must have from 0 to {most} runs, but this payload does not; make it "
            "again."
        )
    return payload[0], payload[1:]
