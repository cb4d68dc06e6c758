"""What the two halves of the engine share: facts, headers, budgets, and the inputs' payload."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.envelope import Header
from engines.interface import EngineFacts
from engines.levelled.ggsw import Ggsw
from engines.levelled.parameters import DEFAULT, DIGEST_BYTES, Parameters
from engines.levelled.randomness import MAXIMUM_SIGMA
from engines.zip_files import pack, unpack
from utils.errors import MalformedMessage

NAME = "levelled"
LABEL = "Levelled TFHE (joint keys)"
RESULT = "result"
CLIENT_FACTS_FILE = "levelled.json"


def facts(parties: int) -> EngineFacts:
    """The engine's facts for a schema of that many parties."""
    return EngineFacts(
        name=NAME,
        label=LABEL,
        encrypted=True,
        joint_keys=True,
        secret_key=(
            f"Nobody ever holds it: it is the sum of {parties} secrets, one made by each party, "
            "which never leave their owners and are never brought together. Without any one of "
            "them nothing can be decrypted."
        ),
        opened=(
            "The score, and with an explanation the score of every bin, once all parties have "
            "given their part. The noise that comes with a score is covered by wider noise, so "
            "that it says little of the model."
        ),
        explains_by="program",
    )


def header(
    model: str,
    kind: str,
    party: str | None = None,
    program: str | None = None,
    profile: str = DEFAULT.profile,
) -> Header:
    """The header of this engine's messages."""
    return Header(
        engine=NAME, profile=profile, model=model, kind=kind, party=party, program=program
    )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProgramBudget(_Part):
    """What opening a program's results takes; standard deviations in units of the torus."""

    score_bits: int = Field(ge=2, le=32)
    sigma_flood: float = Field(gt=0, le=MAXIMUM_SIGMA, description="Added once, by the server.")
    sigma_smudge: float = Field(gt=0, le=MAXIMUM_SIGMA, description="Added by every party.")


class ClientFacts(_Part):
    """The engine's client files: all that a party must know beyond the public model."""

    format: Literal[1] = 1
    profile: str = Field(max_length=40)
    budgets: dict[str, ProgramBudget]

    def to_archive(self) -> bytes:
        """The zip archive that GET /model/client answers."""
        return pack({CLIENT_FACTS_FILE: self.model_dump_json().encode()})

    @classmethod
    def from_archive(cls, archive: bytes) -> ClientFacts:
        """Raises MalformedMessage."""
        try:
            return cls.model_validate_json(unpack(archive)[CLIENT_FACTS_FILE])
        except (KeyError, ValidationError) as error:
            raise MalformedMessage("The client files cannot be read; load them again.") from error


def join_inputs(key_digest: bytes, ciphertexts: Ggsw, parameters: Parameters) -> bytes:
    """The payload of encrypted inputs: the public key's digest, then the ciphertexts."""
    return key_digest + ciphertexts.to_bytes(parameters)


def split_inputs(
    payload: bytes | memoryview,
    bits: int,
    parameters: Parameters,
    wanted: NDArray[np.intp] | None = None,
) -> tuple[bytes, Ggsw]:
    """The key's digest and the ciphertexts of `bits` bits, or of those `wanted` alone.

    Raises MalformedMessage where the length is not exactly `parameters.inputs_bytes(bits)`.
    """
    ciphertexts = Ggsw.from_bytes(payload[DIGEST_BYTES:], bits, parameters, wanted)
    return bytes(payload[:DIGEST_BYTES]), ciphertexts
