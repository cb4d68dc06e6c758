"""The party's half: key generation, encryption of the party's inputs, decryption of results."""

from __future__ import annotations

from typing import Any

import numpy as np
from concrete import fhe

from engines.concrete.keys import PartyKeys
from engines.concrete_ml.features import Quantisers, remaining_variants
from engines.concrete_ml.messages import (
    QUANTISERS_FILE,
    RESULT,
    SPECS_FILE,
    header,
    join_runs,
    split_runs,
)
from engines.envelope import seal, unseal_as
from engines.interface import (
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    KeyPair,
    PartyEngine,
    PublicModel,
)
from engines.payload import join_parts, read_parts
from engines.zip_files import unpack
from features.encoding import Bits, Layout
from utils.errors import MalformedMessage


class ConcreteMlParty(PartyEngine):
    """Built from the public model, Concrete's client specification and the quantisers alone."""

    def __init__(self, public: PublicModel, client_files: bytes) -> None:
        """Raises MalformedMessage if the client files cannot be read."""
        self.facts = public.engine
        self._public = public
        self._layout = Layout(public.schema_)
        files = unpack(client_files)
        try:
            specs = fhe.ClientSpecs.deserialize(files[SPECS_FILE])
            self._quantisers = Quantisers.model_validate_json(files[QUANTISERS_FILE])
        except Exception as error:  # Concrete raises its own errors of many kinds
            raise MalformedMessage("The client files cannot be read; load them again.") from error
        if not self._quantisers.fit(self._layout):
            raise MalformedMessage("The client files belong to another schema; load them again.")
        self._keys = PartyKeys(
            specs,
            header(public.model_version, EVALUATION_KEY, public.schema_.party_names[0]),
        )

    def make_keys(self) -> KeyPair:
        return self._keys.make()

    def _encrypted(self, party: str, bits: Bits, secret: bytes) -> bytes:
        position = self._public.schema_.party_names.index(party)
        arguments: list[Any] = [None] * len(self._public.schema_.parties)
        arguments[position] = self._quantisers.quantise(self._layout, party, bits[None, :])
        return self._keys.client(secret).encrypt(*arguments)[position].serialize()

    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        return seal(
            header(self._public.model_version, ENCRYPTED_INPUTS, party),
            join_parts([self._encrypted(party, bits, secret)]),
        )

    def encrypt_explanation(self, bits: Bits, secret: bytes) -> bytes | None:
        """Encrypt the explained party's inputs once for every bin that is advised, if any.

        Their number reveals to the server the applicant's own bin, or that there is none because an
        assumption does not hold or the value is missing.
        """
        party = self._public.schema_.explained_party
        parts = [
            self._encrypted(party, variant, secret)
            for variant in remaining_variants(self._layout, bits)
        ]
        return seal(header(self._public.model_version, EXPLANATION_INPUTS, party), join_runs(parts))

    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        """Return the scores as log-odds; the n of `explain` belong to the n most advised bins.

        Raises MalformedMessage, ForeignMessage.
        """
        payload = unseal_as(header(self._public.model_version, RESULT, program=program), result)
        count = 1
        if program == EXPLAIN:
            count, payload = split_runs(payload, len(self._public.programs[EXPLAIN].outputs))
        client = self._keys.client(secret)
        try:
            values = [fhe.Value.deserialize(part) for part in read_parts(payload, count)]
            opened = [np.asarray(client.decrypt(value)).ravel() for value in values]
        except (RuntimeError, ValueError) as error:
            raise MalformedMessage("The result cannot be read; fetch it again.") from error
        if any(len(outputs) != self._quantisers.trees for outputs in opened):
            raise MalformedMessage("The result has the wrong number of trees; fetch it again.")
        return tuple(float(self._quantisers.scores(outputs)) for outputs in opened)
