"""The server's half: conformance checks, evaluation, and re-randomisation of the result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from engines.deployment import Deployment, public_facts
from engines.envelope import OVERHEAD, Header, seal, unseal_as
from engines.interface import (
    ENCRYPTED_INPUTS,
    PROGRAMS,
    PUBLIC_KEY,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from engines.levelled.budgets import noise_budgets
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import EncodedGgsw
from engines.levelled.keys import PublicKey
from engines.levelled.messages import NAME, RESULT, ClientFacts, facts, header, split_inputs
from engines.levelled.opening import Result, rerandomise
from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.randomness import Expander, derive
from engines.levelled.selection import Positions, SelectionTree
from engines.zip_files import sha256
from utils.errors import EvaluationFailed, ForeignMessage, MalformedMessage, ResultDiffers


class LevelledServer(ServerEngine):
    """Built from a deployment; holds no key, since evaluation does not need one."""

    def __init__(self, deployment: Deployment, shared: bool = False) -> None:
        """`shared` runs the programs of the other engines instead of this engine's own.

        Raises DeploymentMissing, ForeignMessage for an unknown profile, NoiseBudgetExceeded.
        """
        recorded = deployment.engine_facts(NAME)
        self._parameters = Parameters.by_profile(recorded["profile"])
        self._layout = deployment.layout
        self._parties = deployment.schema.party_names
        programs = deployment.programs if shared else deployment.programs_of(NAME)
        trees = {name: SelectionTree.of(program) for name, program in programs.items()}
        self._trees = trees
        self._evaluators = {n: Evaluator(tree, self._parameters) for n, tree in trees.items()}
        self._budgets = noise_budgets(trees, len(self._parties), self._parameters)
        client = ClientFacts(
            profile=self._parameters.profile,
            budgets={name: budget.client for name, budget in self._budgets.items()},
        )
        self._client_files = client.to_archive()
        self.facts = facts(len(self._parties))
        self.public = PublicModel(
            engine=self.facts,
            model_version=deployment.manifest.model_version,
            schema_=deployment.schema,
            programs=public_facts(programs),
            slots=self._slots(),
            client_sha256=sha256(self._client_files),
            versions=deployment.manifest.versions,
        )

    def _slots(self) -> tuple[Slot, ...]:
        key = Slot(
            party=self._parties[0],
            file_name=PUBLIC_KEY,
            needed_for=PROGRAMS,
            maximum_bytes=OVERHEAD + self._parameters.public_key_bytes,
        )
        inputs = (
            Slot(
                party=party,
                file_name=ENCRYPTED_INPUTS,
                needed_for=PROGRAMS,
                maximum_bytes=OVERHEAD + self._parameters.inputs_bytes(self._bits(party)),
            )
            for party in self._parties
        )
        return (key, *inputs)

    def _bits(self, party: str) -> int:
        own = self._layout.party_bits(party)
        return int(own.stop - own.start)

    def client_files(self) -> bytes:
        return self._client_files

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        """Check the header and the exact length; any word is valid, so no more can be checked."""
        payload = self._payload(slot.file_name, slot.party, message, intact)
        expected = (
            self._parameters.public_key_bytes
            if slot.file_name == PUBLIC_KEY
            else self._parameters.inputs_bytes(self._bits(slot.party))
        )
        if len(payload) != expected:
            raise MalformedMessage(
                f"The payload has {len(payload)} bytes instead of {expected}; make the message "
                "again."
            )

    def _payload(
        self, kind: str, party: str, message: bytes | memoryview, intact: bool
    ) -> memoryview:
        wanted = header(
            self.public.model_version, kind, party=party, profile=self._parameters.profile
        )
        return unseal_as(wanted, message, intact)

    def _check_all(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        for slot in self.public.slots:
            self.check(slot, messages[slot.party, slot.file_name])

    def _ciphertexts(
        self, key: PublicKey, messages: Mapping[tuple[str, str], bytes], wanted: Positions
    ) -> list[EncodedGgsw]:
        """Return the ciphertexts of the bits `wanted`, in order, by party.

        Raises ForeignMessage if a party's inputs are not encrypted under `key`.
        """
        parts = []
        for party in self._parties:
            own = self._layout.party_bits(party)
            payload = self._payload(
                ENCRYPTED_INPUTS, party, messages[party, ENCRYPTED_INPUTS], True
            )
            digest, ciphertexts = split_inputs(
                payload,
                own.stop - own.start,
                self._parameters,
                wanted[(own.start <= wanted) & (wanted < own.stop)] - own.start,
            )
            if digest != key.digest:
                raise ForeignMessage(
                    f"The inputs of {party} are not encrypted under this application's public key; "
                    "encrypt and send them again."
                )
            parts.append(ciphertexts)
        return parts

    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        return self.evaluate_seeded(program, messages, os.urandom(SEED_BYTES), progress)

    def evaluate_seeded(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        seed: bytes,
        progress: Progress | None = None,
    ) -> bytes:
        result = self._result(program, messages, seed, progress)
        return seal(self._result_header(program), result.to_bytes())

    def recheck(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        seed: bytes,
        result: bytes,
    ) -> None:
        payload = unseal_as(self._result_header(program), result)
        given = Result.from_bytes(payload, self._parameters, self._trees[program].outputs)
        if not given.equals(self._result(program, messages, seed)):
            raise ResultDiffers(
                f"The result is not that of {program} on these messages. Do not open it; ask the "
                "server's operator for the cause."
            )

    def _result_header(self, program: str) -> Header:
        return header(
            self.public.model_version, RESULT, program=program, profile=self._parameters.profile
        )

    def _result(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        seed: bytes,
        progress: Progress | None = None,
    ) -> Result:
        """Evaluate and re-randomise; raises the errors of `evaluate_seeded`."""
        if len(seed) != SEED_BYTES:
            raise MalformedMessage(f"The seed of a run must have {SEED_BYTES} bytes.")
        first = self._parties[0]
        evaluator = self._evaluators[program]
        with ThreadPoolExecutor(1) as background:
            # Hashing the messages takes longer than the evaluation, so both run concurrently; no
            # result is returned unless the messages are intact.
            checked = background.submit(self._check_all, messages)
            try:
                payload = self._payload(PUBLIC_KEY, first, messages[first, PUBLIC_KEY], True)
                key = PublicKey.from_bytes(payload, self._parameters)
                operands = evaluator.prepare(
                    *self._ciphertexts(key, messages, self._trees[program].bits)
                )
                mask, body = evaluator.evaluate([operands], progress)[0]
            except MemoryError as error:
                raise EvaluationFailed(
                    "There is not enough memory to evaluate these inputs; run the program again."
                ) from error
            finally:
                checked.result()
        return rerandomise(
            mask,
            body,
            self._trees[program].outputs,
            self._budgets[program].sigma_flood,
            key,
            self._parameters,
            Expander(derive(seed, "re-randomise", program)),
        )
