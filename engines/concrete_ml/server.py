"""The server's half: conformance checks and evaluation with the compiled model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from concrete import fhe

from engines.concrete.keys import EvaluationKeys
from engines.concrete.signals import restore_broken_pipes
from engines.concrete_ml.messages import (
    NAME,
    PROGRAMS,
    QUANTISERS_FILE,
    RESULT,
    SPECS_FILE,
    facts,
    header,
    join_runs,
    split_runs,
)
from engines.deployment import Deployment
from engines.envelope import OVERHEAD, seal, unseal_as
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    ProgramFacts,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from engines.payload import PART_OVERHEAD, join_parts, split_parts
from engines.zip_files import pack, sha256
from features.variations import variations
from utils.errors import EvaluationFailed, MalformedMessage

LIBRARIES = ("concrete-python", "concrete-ml")


class ConcreteMlServer(ServerEngine):
    """Built from a deployment; its facts hold the sizes measured when it was compiled."""

    def __init__(self, deployment: Deployment) -> None:
        """Raises DeploymentMissing, DeploymentMixed."""
        for library in LIBRARIES:
            deployment.check_library(library)
        recorded = deployment.engine_facts(NAME)
        folder = deployment.folder / NAME
        self._parties = deployment.schema.party_names
        self._explained = deployment.schema.explained_party
        self._bins = variations(deployment.schema)[0].labels  # no alternatives and no pairs
        self._input_bytes: dict[str, list[int]] = recorded["input_bytes"]
        self._server = fhe.Server.load(folder / "server.zip")
        self._client_files = pack(
            {name: (folder / name).read_bytes() for name in (SPECS_FILE, QUANTISERS_FILE)}
        )
        self._keys = EvaluationKeys(
            header(deployment.manifest.model_version, EVALUATION_KEY, self._parties[0])
        )
        self.facts = facts(deployment.schema.parties[0].label)
        self.public = PublicModel(
            engine=self.facts,
            model_version=deployment.manifest.model_version,
            schema_=deployment.schema,
            programs={
                name: ProgramFacts(outputs=outputs, score_bits=recorded["score_bits"], scale=1.0)
                for name, outputs in ((DECIDE, ("score",)), (EXPLAIN, self._bins))
            },
            slots=self._slots(recorded["evaluation_key_bytes"]),
            client_sha256=sha256(self._client_files),
            versions=deployment.manifest.versions,
        )

    def _slots(self, evaluation_key_bytes: int) -> tuple[Slot, ...]:
        part = {party: PART_OVERHEAD + sum(self._input_bytes[party]) for party in self._parties}
        slots = [
            Slot(
                party=self._parties[0],
                file_name=EVALUATION_KEY,
                needed_for=PROGRAMS,
                maximum_bytes=evaluation_key_bytes + (1 << 16),
            )
        ]
        slots += [
            Slot(
                party=party,
                file_name=ENCRYPTED_INPUTS,
                needed_for=(DECIDE,) if party == self._explained else PROGRAMS,
                maximum_bytes=OVERHEAD + part[party],
            )
            for party in self._parties
        ]
        slots.append(
            Slot(
                party=self._explained,
                file_name=EXPLANATION_INPUTS,
                needed_for=(EXPLAIN,),
                maximum_bytes=OVERHEAD + 1 + len(self._bins) * part[self._explained],
            )
        )
        return tuple(slots)

    def client_files(self) -> bytes:
        return self._client_files

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        if slot.file_name == EVALUATION_KEY:
            self._keys.check(message, intact)
        elif slot.file_name == EXPLANATION_INPUTS:
            self._variants(message)
        else:
            self._inputs(slot.party, message)

    def _inputs(self, party: str, message: bytes | memoryview) -> Any:
        expected = header(self.public.model_version, ENCRYPTED_INPUTS, party)
        return self._values(party, unseal_as(expected, message), 1)[0]

    def _variants(self, message: bytes | memoryview) -> list[Any]:
        """Return the explained party's inputs, one for each bin to evaluate."""
        expected = header(self.public.model_version, EXPLANATION_INPUTS, self._explained)
        count, payload = split_runs(unseal_as(expected, message), len(self._bins))
        return self._values(self._explained, payload, count)

    def _values(self, party: str, payload: memoryview, count: int) -> list[Any]:
        parts = split_parts(payload, count * self._input_bytes[party])
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
        """Run the model once for `decide`, and once per variant sent for `explain`."""
        keys = self._keys.accepted(messages[self._parties[0], EVALUATION_KEY])
        inputs = {
            party: self._inputs(party, messages[party, ENCRYPTED_INPUTS])
            for party in self._parties
            if program == DECIDE or party != self._explained
        }
        runs = [inputs]
        if program == EXPLAIN:
            variants = self._variants(messages[self._explained, EXPLANATION_INPUTS])
            runs = [inputs | {self._explained: variant} for variant in variants]
        parts: list[bytes] = []
        for run in runs:
            try:
                value = self._server.run(*(run[p] for p in self._parties), evaluation_keys=keys)
            except RuntimeError as error:
                raise EvaluationFailed(
                    "Concrete could not evaluate these inputs; send keys and inputs again."
                ) from error
            finally:
                restore_broken_pipes()
            parts.append(value.serialize())
            if progress is not None:
                progress(len(parts) / len(runs))
        return seal(
            header(self.public.model_version, RESULT, program=program),
            join_runs(parts) if program == EXPLAIN else join_parts(parts),
        )

    def load_key(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        self._keys.accepted(messages[self._parties[0], EVALUATION_KEY])

    def runs(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> int:
        if program != EXPLAIN:
            return 1
        # An applicant in the last bin sends no variants.
        return max(1, len(self._variants(messages[self._explained, EXPLANATION_INPUTS])))

    def forget(self, digests: Collection[bytes]) -> None:
        self._keys.forget(digests)
