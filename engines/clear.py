"""The clear engine: the same interface without any encryption, and therefore without protection.

It computes the exact reference that the encrypted engines must match, and makes tests of everything
but the cryptography fast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from pydantic import TypeAdapter, ValidationError

from engines.deployment import Deployment
from engines.envelope import OVERHEAD, Header, seal, unseal_as
from engines.interface import (
    ENCRYPTED_INPUTS,
    EngineFacts,
    KeyPair,
    PartyEngine,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from engines.zip_files import EMPTY_ZIP, sha256
from features.encoding import Bits, Layout
from utils.errors import MalformedMessage

FACTS = EngineFacts(
    name="clear",
    label="Clear (no encryption)",
    encrypted=False,
    joint_keys=False,
    secret_key="There is no key: this engine encrypts nothing and the server sees every value.",  # noqa: S106
    opened="The score, with an explanation the score of every bin, with reasons their points.",
    explains_by="program",
)
_SCORES = TypeAdapter(tuple[int, ...])


def _header(public: PublicModel, kind: str, party: str | None, program: str | None) -> Header:
    return Header(
        engine=FACTS.name, model=public.model_version, kind=kind, party=party, program=program
    )


class ClearParty(PartyEngine):
    """The party's half; `secret` is ignored everywhere."""

    facts = FACTS

    def __init__(self, public: PublicModel) -> None:
        self._public = public

    def make_keys(self) -> KeyPair:
        return KeyPair(secret=b"", evaluation=b"")

    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        header = _header(self._public, ENCRYPTED_INPUTS, party, None)
        return seal(header, bits.astype(np.uint8).tobytes())

    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        payload = unseal_as(_header(self._public, "result", None, program), result)
        try:
            scores = _SCORES.validate_json(bytes(payload))
        except ValidationError as error:
            raise MalformedMessage("The result cannot be read; fetch it again.") from error
        if len(scores) != len(self._public.programs[program].outputs):
            raise MalformedMessage("The result has the wrong number of scores; fetch it again.")
        return scores


class ClearServer(ServerEngine):
    """The server's half."""

    facts = FACTS

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._layout: Layout = deployment.layout
        self.public = PublicModel(
            engine=FACTS,
            model_version=deployment.manifest.model_version,
            booster_sha256=deployment.manifest.files["booster.json"],
            schema_=deployment.schema,
            programs=deployment.program_facts(FACTS.name),
            slots=tuple(
                Slot(
                    party=party,
                    file_name=ENCRYPTED_INPUTS,
                    needed_for=tuple(deployment.programs_of(FACTS.name)),
                    maximum_bytes=OVERHEAD + self._size(party),
                )
                for party in deployment.schema.party_names
            ),
            client_sha256=sha256(EMPTY_ZIP),
            versions=deployment.manifest.versions,
        )

    def _size(self, party: str) -> int:
        own = self._layout.party_bits(party)
        return int(own.stop - own.start)

    def client_files(self) -> bytes:
        return EMPTY_ZIP

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        self._bits(slot.party, message)

    def _bits(self, party: str, message: bytes | memoryview) -> Bits:
        payload = unseal_as(_header(self.public, ENCRYPTED_INPUTS, party, None), message)
        bits = np.frombuffer(payload, np.uint8)
        if len(bits) != self._size(party) or bits.max(initial=0) > 1:
            raise MalformedMessage(f"These are not the {self._size(party)} bits of {party}.")
        return bits

    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        row = np.concatenate(
            [
                self._bits(party, messages[party, ENCRYPTED_INPUTS])
                for party in self._deployment.schema.party_names
            ]
        )
        scores = self._deployment.programs_of(FACTS.name)[program].scores(row[None, :])[0]
        if progress is not None:
            progress(1.0)
        payload = json.dumps(scores.tolist()).encode()
        return seal(_header(self.public, "result", None, program), payload)
