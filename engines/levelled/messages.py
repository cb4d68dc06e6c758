"""Definitions shared by both halves of the engine: facts, headers, budgets, and input payloads."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.envelope import Header
from engines.interface import REASONS, SIGN_OF, EngineFacts
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.parameters import (
    DEFAULT,
    DIGEST_BYTES,
    LEVEL_BITS,
    SIGN_BITS,
    Parameters,
)
from engines.levelled.randomness import MAXIMUM_SIGMA
from engines.zip_files import pack, unpack
from utils.errors import MalformedMessage

NAME = "levelled"
LABEL = "Levelled TFHE (joint keys)"
RESULT = "result"
CLIENT_FACTS_FILE = "levelled.json"


def compared_bits(comparison: str) -> int:
    """Return the width of the values that a program of MASKED_BY opens: signs, or levels."""
    return LEVEL_BITS if comparison == SIGN_OF[REASONS] else SIGN_BITS


def facts(
    parties: int, signs: bool = False, reasons: bool = False, refers: bool = False
) -> EngineFacts:
    """Return the engine's facts for a schema with this number of parties.

    `signs` is True if only the signs of scores are opened, `reasons` if there is that program.
    """
    decided = "Approved, referred or denied" if refers else "Approved or denied"
    if not reasons:
        stated = ""
    elif signs:
        stated = " With reasons, a level from 0 to 7 of each."
    else:
        stated = " With reasons, the points of each."
    return EngineFacts(
        name=NAME,
        label=LABEL,
        encrypted=True,
        joint_keys=True,
        secret_key=(
            f"Nobody ever holds it: it is the sum of {parties} secrets, one made by each party, "
            "which never leave their owners and are never combined. Nothing can be decrypted "
            "unless all parties take part."
        ),
        opened=(
            f"{decided}, and with an explanation approved or denied for every bin, once "
            "all parties have contributed their share. The scores open under masks that no party "
            f"knows alone, and only their signs are computed from that.{stated}"
            if signs
            else "The score, and with an explanation the score of every bin, once all parties have "
            "contributed their share. Wider noise hides the noise of the evaluation, so that it "
            "reveals little about the model. Compile with --open sign to keep scores hidden."
            f"{stated}"
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
    """Return a header for this engine's messages."""
    return Header(
        engine=NAME, profile=profile, model=model, kind=kind, party=party, program=program
    )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProgramBudget(_Part):
    """Parameters for opening a program's results; standard deviations in units of the torus."""

    score_bits: int = Field(ge=2, le=32)
    sigma_flood: float = Field(gt=0, le=MAXIMUM_SIGMA, description="Added once, by the server.")
    sigma_smudge: float = Field(gt=0, le=MAXIMUM_SIGMA, description="Added by every party.")


class ClientFacts(_Part):
    """The engine's client files: data that a party needs in addition to the public model."""

    format: Literal[1] = 1
    profile: str = Field(max_length=40)
    budgets: dict[str, ProgramBudget]

    def to_archive(self) -> bytes:
        """Return the zip archive that GET /model/client returns."""
        return pack({CLIENT_FACTS_FILE: self.model_dump_json().encode()})

    @classmethod
    def from_archive(cls, archive: bytes) -> ClientFacts:
        """Decode an archive; raises MalformedMessage."""
        try:
            return cls.model_validate_json(unpack(archive)[CLIENT_FACTS_FILE])
        except (KeyError, ValidationError) as error:
            raise MalformedMessage("The client files cannot be read; load them again.") from error


def join_inputs(key_digest: bytes, ciphertexts: Ggsw, parameters: Parameters) -> bytes:
    """Return the payload of encrypted inputs: the public key's digest, then the ciphertexts."""
    return key_digest + ciphertexts.to_bytes(parameters)


def split_inputs(
    payload: bytes | memoryview,
    bits: int,
    parameters: Parameters,
    wanted: NDArray[np.intp] | None = None,
) -> tuple[bytes, EncodedGgsw]:
    """Return the key's digest, and the ciphertexts of `bits` bits or of those `wanted` only.

    Raises MalformedMessage unless the length is `parameters.inputs_bytes(bits)`.
    """
    ciphertexts = EncodedGgsw(payload[DIGEST_BYTES:], bits, parameters, wanted)
    return bytes(payload[:DIGEST_BYTES]), ciphertexts
