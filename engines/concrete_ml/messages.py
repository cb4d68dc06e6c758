"""What the two halves of the engine share: its facts, headers and payloads of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from engines.concrete.messages import facts as concrete_facts
from engines.envelope import Header
from engines.interface import EngineFacts
from engines.payload import join_parts
from utils.errors import MalformedMessage

NAME = "concrete_ml"
PROFILE = "quantised-trees"
RESULT = "result"
SPECS_FILE = "client.specs.json"
QUANTISERS_FILE = "quantisers.json"
LABEL = "Concrete ML (one key)"


def facts(key_holder: str) -> EngineFacts:
    """The engine's facts for a schema whose first party is `key_holder` (its label)."""
    return EngineFacts(
        name=NAME,
        label=LABEL,
        encrypted=True,
        joint_keys=False,
        secret_key=concrete_facts(key_holder, sign_only=False).secret_key,
        opened=(
            "Every tree's output, which the parties add up themselves: more than the score. An "
            "explanation opens the same for every bin above the applicant's own, and the server "
            "can tell from their number which bin that is."
        ),
        explains_by="rerun",
    )


def header(model: str, kind: str, party: str | None = None, program: str | None = None) -> Header:
    """The header of this engine's messages."""
    return Header(
        engine=NAME, profile=PROFILE, model=model, kind=kind, party=party, program=program
    )


def join_runs(parts: Sequence[bytes]) -> bytes:
    """One part for every run of an explanation, behind their number, one byte."""
    return bytes([len(parts)]) + join_parts(parts)


def split_runs(payload: memoryview, most: int) -> tuple[int, memoryview]:
    """How many runs there are, and the bytes of their parts; raises MalformedMessage."""
    if not len(payload) or payload[0] > most:
        raise MalformedMessage(
            f"An explanation has from 0 to {most} runs, and this payload says otherwise; make it "
            "again."
        )
    return payload[0], payload[1:]
