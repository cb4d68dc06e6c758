"""The party's half: key generation, encryption of the party's inputs, decryption of results."""

from __future__ import annotations

from typing import Any

from concrete import fhe

from engines.concrete.circuit import party_inputs
from engines.concrete.keys import PartyKeys
from engines.concrete.messages import PROGRAMS, RESULT, SPECS_FILE, header
from engines.envelope import seal, unseal_as
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    KeyPair,
    PartyEngine,
    PublicModel,
)
from engines.payload import join_parts, read_parts
from engines.zip_files import unpack
from features.encoding import Bits, Layout
from utils.errors import MalformedMessage


class ConcreteParty(PartyEngine):
    """Built from the public model and Concrete's client specification alone."""

    def __init__(self, public: PublicModel, client_files: bytes) -> None:
        """Raises MalformedMessage if the client files cannot be read."""
        self.facts = public.engine
        self._public = public
        self._layout = Layout(public.schema_)
        specification = unpack(client_files).get(SPECS_FILE)
        try:
            specs = fhe.ClientSpecs.deserialize(specification)
        except Exception as error:  # Concrete raises its own errors of many kinds
            raise MalformedMessage("The client files cannot be read; load them again.") from error
        if set(specs.program_info.function_list()) != set(PROGRAMS):
            raise MalformedMessage("The client files lack a program; load them again.")
        self._keys = PartyKeys(
            specs,
            header(public.model_version, EVALUATION_KEY, public.schema_.party_names[0]),
        )

    def make_keys(self) -> KeyPair:
        return self._keys.make()

    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        position = 2 * self._public.schema_.party_names.index(party)
        arguments: list[Any] = [None] * (2 * len(self._public.schema_.parties))
        arguments[position : position + 2] = party_inputs(self._layout, party, bits)
        values = self._keys.client(secret).encrypt(*arguments, function_name=DECIDE)
        parts = [values[position + i].serialize() for i in range(2)]
        return seal(header(self._public.model_version, ENCRYPTED_INPUTS, party), join_parts(parts))

    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        expected = header(self._public.model_version, RESULT, program=program)
        parts = read_parts(unseal_as(expected, result), len(self._public.programs[program].outputs))
        client = self._keys.client(secret)
        try:
            values = [fhe.Value.deserialize(part) for part in parts]
            opened = client.decrypt(*values, function_name=program)
            scores = tuple(int(score) for score in (opened if len(parts) > 1 else [opened]))
        except Exception as error:  # Concrete raises its own errors of many kinds
            raise MalformedMessage("The result cannot be read; fetch it again.") from error
        return scores
