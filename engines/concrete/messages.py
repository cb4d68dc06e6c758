"""Definitions shared by both halves of the engine: its facts and headers."""

from __future__ import annotations

from engines.envelope import Header
from engines.interface import DECIDE, EXPLAIN, EngineFacts

NAME = "concrete"
PROFILE = "tfhe-4bit"
RESULT = "result"
SPECS_FILE = "client.specs.json"
LABEL = "Concrete (TFHE, one key)"
PROGRAMS = (DECIDE, EXPLAIN)
"""The programs that the engine runs, of those that a deployment may have."""


def facts(key_holder: str, sign_only: bool) -> EngineFacts:
    """Return the engine's facts for a schema whose first party has the label `key_holder`."""
    return EngineFacts(
        name=NAME,
        label=LABEL,
        encrypted=True,
        joint_keys=False,
        secret_key=(
            f"{key_holder} makes the one secret key and shares it with the other parties, because "
            "Concrete encrypts with the secret key: any party that obtained another's ciphertext "
            "could read it. The server never has the key."
        ),
        opened=(
            "Only approved or denied, for the decision and for every bin; no score."
            if sign_only
            else "The score, and with an explanation the score of every bin."
        ),
        explains_by="program",
    )


def header(model: str, kind: str, party: str | None = None, program: str | None = None) -> Header:
    """Return a header for this engine's messages."""
    return Header(
        engine=NAME, profile=PROFILE, model=model, kind=kind, party=party, program=program
    )
