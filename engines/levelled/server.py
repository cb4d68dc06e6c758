"""The server's half: conformance checks, evaluation, and re-randomisation of the result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines import interface
from engines.deployment import Deployment, public_facts
from engines.envelope import OVERHEAD, Header, digest_of, seal, unseal_as
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PROGRAMS,
    PUBLIC_KEY,
    REASONS,
    SIGN_OF,
    Outcome,
    Progress,
    PublicModel,
    ServerEngine,
    Slot,
)
from engines.levelled.budgets import noise_budgets
from engines.levelled.build import SCORE, SIGN
from engines.levelled.comparison import signs, table_cover
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import EncodedGgsw
from engines.levelled.keys import PublicKey
from engines.levelled.levels import levels
from engines.levelled.masked_opening import rerandomise_for_masks
from engines.levelled.masks import MaskFormat, decode_masks
from engines.levelled.messages import (
    NAME,
    RESULT,
    ClientFacts,
    ProgramBudget,
    facts,
    header,
    split_inputs,
)
from engines.levelled.opening import Result, rerandomise
from engines.levelled.parameters import KNOWN_ZEROS, LEVEL_BITS, SEED_BYTES, WORD_BYTES, Parameters
from engines.levelled.randomness import Expander, derive
from engines.levelled.results import (
    coefficients_of_parts,
    has_checks,
    join_results,
    split_results,
    zeros_apart,
)
from engines.levelled.selection import Positions, SelectionTree
from engines.levelled.sign_budgets import sign_budgets
from engines.levelled.well_formed import CHECKED, check_ciphertext
from engines.levelled.words import Words, words_from_bytes
from engines.zip_files import sha256
from model.program import Program
from utils.errors import (
    DeploymentMixed,
    EvaluationFailed,
    ForeignMessage,
    MalformedMessage,
    ResultDiffers,
)


@dataclass(frozen=True)
class LevelledOutcome(Outcome):
    """A program's outcome, mask and body (N,) each, and the check of each party's inputs."""

    key: PublicKey
    mask: Words
    body: Words
    checks: Mapping[str, tuple[Words, Words]]


class LevelledServer(ServerEngine):
    """Built from a deployment; holds no key, since evaluation does not need one."""

    def __init__(self, deployment: Deployment, shared: bool = False) -> None:
        """`shared` runs the programs of the other engines, and opens their scores.

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
        self._signs = recorded.get("opens", SCORE) == SIGN and not shared
        self._levels = _levels(programs) if self._signs else None
        self._budgets = self._opening_budgets()
        client = ClientFacts(profile=self._parameters.profile, budgets=self._budgets)
        self._client_files = client.to_archive()
        refers = deployment.schema.decision.refer_below is not None
        self.facts = facts(len(self._parties), self._signs, REASONS in programs, refers)
        stated = public_facts(programs)
        if self._signs:
            stated |= {
                SIGN_OF[name]: own.model_copy(update=self._opened_facts(name))
                for name, own in stated.items()
            }
        self.public = PublicModel(
            engine=self.facts,
            model_version=deployment.manifest.model_version,
            booster_sha256=deployment.manifest.files["booster.json"],
            schema_=deployment.schema,
            programs=stated,
            slots=self._slots(),
            client_sha256=sha256(self._client_files),
            versions=deployment.manifest.versions,
        )

    def _opened_facts(self, program: str) -> dict[str, Any]:
        """Return the facts in which a program's comparison differs from the program."""
        if program == REASONS and self._levels:
            return {"score_bits": LEVEL_BITS, "edges": self._levels.edges}
        return {"score_bits": 1}

    def _opening_budgets(self) -> dict[str, ProgramBudget]:
        """Return the noise of every opening, by program."""
        given = (self._trees, len(self._parties), self._parameters)
        if not self._signs:
            return {name: budget.client for name, budget in noise_budgets(*given).items()}
        budgets = {}
        for name, own in sign_budgets(*given).items():
            bits = self._trees[name].score_bits
            budgets[name] = own.zeros.client.model_copy(update={"score_bits": bits})
            budgets[SIGN_OF[name]] = own.signs.client
        return budgets

    def _slots(self) -> tuple[Slot, ...]:
        first, programs = self._parties[0], tuple(n for n in PROGRAMS if n in self._trees)
        compared = tuple(SIGN_OF[name] for name in programs) if self._signs else ()
        found = [(first, PUBLIC_KEY, (*programs, *compared))]
        found += [(party, ENCRYPTED_INPUTS, programs) for party in self._parties]
        if self._signs:
            found.append((first, interface.CHALLENGE, (DECIDE,)))
        for sign in compared:
            program = MASKED_BY[sign]
            found += [(party, MASKS_OF[program], (sign,)) for party in self._parties]
            found.append((first, MASKED_OF[program], (sign,)))
        return tuple(
            Slot(
                party=party,
                file_name=file_name,
                needed_for=needed_for,
                maximum_bytes=OVERHEAD + self._payload_bytes(party, file_name),
            )
            for party, file_name, needed_for in found
        )

    def _payload_bytes(self, party: str, file_name: str) -> int:
        """Return the exact size of a slot's payload."""
        match file_name:
            case interface.PUBLIC_KEY:
                return self._parameters.public_key_bytes
            case interface.CHALLENGE:
                return SEED_BYTES
            case interface.ENCRYPTED_INPUTS:
                return self._parameters.inputs_bytes(self._bits(party))
        for program, tree in self._trees.items():
            if file_name == MASKS_OF[program]:
                return self._mask_format(program).mask_bytes(tree.outputs)
            if file_name == MASKED_OF[program]:
                return tree.outputs * WORD_BYTES
        raise ForeignMessage(f"This model has no file {file_name[:40]!r}.")

    def _mask_format(self, program: str) -> MaskFormat:
        bits = self._trees[program].score_bits
        return MaskFormat.of(self._parameters, bits, len(self._parties))

    def _bits(self, party: str) -> int:
        own = self._layout.party_bits(party)
        return int(own.stop - own.start)

    def client_files(self) -> bytes:
        return self._client_files

    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        """Check the header and the exact length; any word is valid, so no more can be checked."""
        self._payload(slot.file_name, slot.party, message, intact)

    def _payload(
        self, kind: str, party: str, message: bytes | memoryview, intact: bool
    ) -> memoryview:
        wanted = header(
            self.public.model_version, kind, party=party, profile=self._parameters.profile
        )
        payload = unseal_as(wanted, message, intact)
        expected = self._payload_bytes(party, kind)
        if len(payload) != expected:
            raise MalformedMessage(
                f"The payload has {len(payload)} bytes instead of {expected}; make the message "
                "again."
            )
        return payload

    def _check_all(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> None:
        for slot in self.public.slots:
            if program in slot.needed_for:
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
        outcome = self._outcome(program, messages, progress)
        results = self._rerandomised(program, outcome, seed)
        return seal(self._result_header(program), join_results(results))

    def outcome(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> Outcome:
        return self._outcome(program, messages)

    def recheck(self, program: str, outcome: Outcome, seed: bytes, result: bytes) -> None:
        if not isinstance(outcome, LevelledOutcome):
            raise TypeError("not an outcome of this engine")
        payload = unseal_as(self._result_header(program), result)
        counts = coefficients_of_parts(self.public, program)
        given = split_results(payload, self._parameters, counts)
        own = self._rerandomised(program, outcome, seed)
        if not all(part.equals(other) for part, other in zip(given, own, strict=True)):
            raise ResultDiffers(
                f"The result is not that of {program} on these messages. Do not open it; ask the "
                "server's operator for the cause."
            )

    def _result_header(self, program: str) -> Header:
        return header(
            self.public.model_version, RESULT, program=program, profile=self._parameters.profile
        )

    def _outcome(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> LevelledOutcome:
        """Evaluate a program, and the checks that are opened with it."""
        with ThreadPoolExecutor(1) as background:
            # Hashing the messages takes longer than the evaluation, so both run concurrently; no
            # result is returned unless the messages are intact.
            checked = background.submit(self._check_all, program, messages)
            try:
                first = self._parties[0]
                payload = self._payload(PUBLIC_KEY, first, messages[first, PUBLIC_KEY], True)
                key = PublicKey.from_bytes(payload, self._parameters)
                if program in MASKED_BY:
                    mask, body = self._compare(MASKED_BY[program], key, messages)
                else:
                    mask, body = self._scores(program, key, messages, progress)
                return LevelledOutcome(key, mask, body, self._checks(program, key, messages))
            except MemoryError as error:
                raise EvaluationFailed(
                    "There is not enough memory to evaluate these inputs; run the program again."
                ) from error
            finally:
                checked.result()

    def _checks(
        self, program: str, key: PublicKey, messages: Mapping[tuple[str, str], bytes]
    ) -> dict[str, tuple[Words, Words]]:
        """Return the check of every party's inputs, to be opened with the program's outcome."""
        if not has_checks(self.public, program):
            return {}
        first = self._parties[0]
        challenge = self._payload(
            interface.CHALLENGE, first, messages[first, interface.CHALLENGE], True
        )
        every = np.arange(self._layout.n_bits)
        uploads = dict(zip(self._parties, self._ciphertexts(key, messages, every), strict=True))
        return check_ciphertext(key, uploads, self._layout, bytes(challenge), self._parameters)

    def _rerandomised(self, program: str, found: LevelledOutcome, seed: bytes) -> list[Result]:
        """Return the parts of the result to open, in the order of results.py."""
        if len(seed) != SEED_BYTES:
            raise MalformedMessage(f"The seed of a run must have {SEED_BYTES} bytes.")
        again = rerandomise_for_masks if self.public.masked(program) else rerandomise
        count = coefficients_of_parts(self.public, program)[0]
        flood, no_flood = self._budgets[program].sigma_flood, 0.0
        key, parameters = found.key, self._parameters
        randomness = Expander(derive(seed, "re-randomise", program))
        results = [again(found.mask, found.body, count, flood, key, parameters, randomness)]
        # The noise of fresh zeros and of checks does not depend on the model.
        if zeros_apart(program):
            randomness = Expander(derive(seed, "known zeros", program))
            none = np.zeros_like(key.body)
            results.append(
                rerandomise(none, none, KNOWN_ZEROS, no_flood, key, parameters, randomness)
            )
        for party, (mask, body) in found.checks.items():
            randomness = Expander(derive(seed, "re-randomise check", party))
            results.append(rerandomise(mask, body, CHECKED, no_flood, key, parameters, randomness))
        return results

    def _scores(
        self,
        program: str,
        key: PublicKey,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None,
    ) -> tuple[Words, Words]:
        """Return the outcome of a program, mask and body (N,) each."""
        evaluator = self._evaluators[program]
        inputs = self._ciphertexts(key, messages, self._trees[program].bits)
        mask, body = evaluator.evaluate([evaluator.prepare(*inputs)], progress)[0]
        return mask, body

    def _compare(
        self, program: str, key: PublicKey, messages: Mapping[tuple[str, str], bytes]
    ) -> tuple[Words, Words]:
        """Return the signs or levels of a program's masked scores, mask and body (N,) each."""
        own, outputs = self._mask_format(program), self._trees[program].outputs
        names, first = (MASKS_OF[program], MASKED_OF[program]), self._parties[0]
        masks = [
            decode_masks(self._payload(names[0], p, messages[p, names[0]], True), key, own, outputs)
            for p in self._parties
        ]
        payload = self._payload(names[1], first, messages[first, names[1]], True)
        sent = [*(messages[p, names[0]] for p in self._parties), messages[first, names[1]]]
        seed = hashlib.sha256(key.digest + b"".join(map(digest_of, sent))).digest()
        cover = table_cover(key, derive(seed, "cover of comparison", program), outputs)
        y = words_from_bytes(payload, outputs)
        if program == REASONS and self._levels:
            return levels(y, masks, own, cover, self._levels.low, self._levels.edges)
        return signs(y, masks, own, cover)


def _levels(programs: Mapping[str, Program]) -> Program | None:
    """Return the program of which levels are opened, if any; raises DeploymentMixed."""
    found = programs.get(REASONS)
    if found is not None and not found.edges:
        raise DeploymentMixed("The program reasons has no edges of levels; run `make compile`.")
    return found
