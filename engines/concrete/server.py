"""The server's half: conformance checks and evaluation with the compiled module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from concrete import fhe

from engines.concrete.keys import EvaluationKeys
from engines.concrete.messages import NAME, PROGRAMS, RESULT, SPECS_FILE, facts, header
from engines.concrete.signals import restore_broken_pipes
from engines.concrete.structure import FILE as STRUCTURE_FILE
from engines.concrete.structure import Structures
from engines.deployment import Deployment
from engines.envelope import OVERHEAD, seal, unseal_as
from engines.interface import (
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from engines.payload import PART_OVERHEAD, join_parts, split_parts
from engines.zip_files import pack, sha256
from utils.errors import DeploymentMissing, EvaluationFailed, MalformedMessage

LIBRARY = "concrete-python"


class ConcreteServer(ServerEngine):
    """Built from a deployment; its facts hold the sizes measured when it was compiled."""

    def __init__(self, deployment: Deployment) -> None:
        """Raises DeploymentMissing, DeploymentMixed."""
        deployment.check_library(LIBRARY)
        recorded = deployment.engine_facts(NAME)
        self._folder = deployment.folder / NAME
        self._parties = deployment.schema.party_names
        self._input_bytes: dict[str, list[int]] = recorded["input_bytes"]
        structures = _structures(self._folder / STRUCTURE_FILE)
        self._structures = structures.inputs
        self._server = fhe.Server.load(self._folder / "server.zip")
        self._client_files = pack({SPECS_FILE: (self._folder / SPECS_FILE).read_bytes()})
        self._keys = EvaluationKeys(
            header(deployment.manifest.model_version, EVALUATION_KEY, self._parties[0]),
            structures.evaluation_key,
        )
        sign_only: bool = recorded["sign_only"]
        self.facts = facts(deployment.schema.parties[0].label, sign_only)
        holder = self._parties[0]
        slots = [
            Slot(
                party=holder,
                file_name=EVALUATION_KEY,
                needed_for=PROGRAMS,
                maximum_bytes=recorded["evaluation_key_bytes"] + (1 << 16),
            )
        ]
        slots += [
            Slot(
                party=party,
                file_name=ENCRYPTED_INPUTS,
                needed_for=PROGRAMS,
                maximum_bytes=OVERHEAD + 2 * PART_OVERHEAD + sum(self._input_bytes[party]),
            )
            for party in self._parties
        ]
        self.public = PublicModel(
            engine=self.facts,
            model_version=deployment.manifest.model_version,
            booster_sha256=deployment.manifest.files["booster.json"],
            schema_=deployment.schema,
            programs={
                # If only the sign is opened, a score has one bit.
                name: own.model_copy(update={"score_bits": 1}) if sign_only else own
                for name, own in deployment.program_facts(NAME).items()
                if name in PROGRAMS
            },
            slots=tuple(slots),
            client_sha256=sha256(self._client_files),
            versions=deployment.manifest.versions,
        )

    def client_files(self) -> bytes:
        return self._client_files

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        if slot.file_name == EVALUATION_KEY:
            self._keys.check(message, intact)
        else:
            self._inputs(slot.party, message)

    def _inputs(self, party: str, message: bytes | memoryview) -> list[Any]:
        expected = header(self.public.model_version, ENCRYPTED_INPUTS, party)
        parts = split_parts(unseal_as(expected, message), self._input_bytes[party])
        if not all(s.holds(p) for s, p in zip(self._structures[party], parts, strict=True)):
            raise MalformedMessage(
                f"The encrypted inputs of {party} do not fit this model; encrypt them again."
            )
        try:
            return [fhe.Value.deserialize(part) for part in parts]
        except Exception as error:  # Concrete raises its own errors of many kinds
            raise MalformedMessage(
                f"The encrypted inputs of {party} cannot be read; encrypt them again."
            ) from error

    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        keys = self._keys.accepted(messages[self._parties[0], EVALUATION_KEY])
        inputs = [
            value
            for party in self._parties
            for value in self._inputs(party, messages[party, ENCRYPTED_INPUTS])
        ]
        try:
            results = self._server.run(*inputs, evaluation_keys=keys, function_name=program)
        except (RuntimeError, MemoryError) as error:
            raise EvaluationFailed(
                "Concrete could not evaluate these inputs; send keys and inputs again."
            ) from error
        finally:
            restore_broken_pipes()
        if progress is not None:
            progress(1.0)
        values = results if isinstance(results, tuple) else (results,)
        return seal(
            header(self.public.model_version, RESULT, program=program),
            join_parts([value.serialize() for value in values]),
        )

    def load_key(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        self._keys.accepted(messages[self._parties[0], EVALUATION_KEY])

    def forget(self, digests: Collection[bytes]) -> None:
        self._keys.forget(digests)


def _structures(path: Path) -> Structures:
    try:
        return Structures.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DeploymentMissing(f"{path} is missing; run `make compile` again.") from error
