"""Applications that open signs, and the numbers that a coalition of parties can compute in them.

A coalition of some parties and the server has its members' secrets, from which their words and
smudges follow, and their pairwise keys; every message that its members receive; and all data of the
server: uploads, results before and after re-randomisation, and flooding. It removes from every
value all that it knows, so that only the missing parties' words, smudges and secrets are left.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import numpy as np

from engines.envelope import unseal
from engines.interface import (
    CHALLENGE,
    ENCRYPTED_INPUTS,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PUBLIC_KEY,
    SIGN_OF,
)
from engines.levelled import server as server_module
from engines.levelled.ceremony import JointKeys, make_joint_keys
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.masks import MaskFormat, decode_masks
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, MODULUS_BITS, SEED_BYTES
from engines.levelled.party import LevelledParty
from engines.levelled.randomness import Expander, derive
from engines.levelled.results import coefficients_of_parts, split_results, split_shares, zeros_apart
from engines.levelled.words import Words, sum_of_words, words_from_bytes
from features.encoding import Bits
from tests.privacy.small import CONTEXT, PARTIES, EngineHalves

COALITIONS = [c for size in range(3) for c in itertools.combinations(PARTIES, size)]
QUARTER = 1 << (MODULUS_BITS - 2)


@dataclass(frozen=True)
class Part:
    """An opened ciphertext, of which `outputs` values and `zeros` known zeros open.

    `mask` and `body` are those before re-randomisation. `label` is the digest from which smudges
    and zero shares are derived. Shares of scores have words in place of smudges (`masked`).
    """

    mask: Words
    body: Words
    flood: Words
    result: Result
    label: bytes
    shares: dict[str, bytes]
    smudge: float
    masked: bool
    zeros: int = KNOWN_ZEROS

    @property
    def outputs(self) -> int:
        return len(self.result.bodies) - self.zeros

    def opened(self) -> Words:
        """Return what all shares open, shape (outputs + zeros,)."""
        return self.result.bodies - sum_of_words(self.shares, len(self.result.bodies))


@dataclass
class Signed:
    """An application that opens signs; `parts` are by program, and by party for checks.

    The known zeros of signs are the part `zeros_of` their program.

    `sealed` has the results and `shares` all parties' shares, as sent, by program.
    """

    halves: EngineHalves
    keys: JointKeys
    scores: dict[str, np.ndarray]
    messages: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sealed: dict[str, bytes] = field(default_factory=dict)
    shares: dict[str, dict[str, bytes]] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    products: dict[tuple[str, int], Words] = field(default_factory=dict)
    """First coefficients of mask·S_p, by party and mask, once computed."""
    numbers: dict[tuple[Collection[str], str], dict[str, Words]] = field(default_factory=dict)
    """The result of `covered` by coalition and program, once computed."""

    @classmethod
    def run(cls, halves: EngineHalves, bits: Bits, compared: Collection[str] = ()) -> Signed:
        """Run an application with fresh keys; the programs `compared` are opened to their signs."""
        engine, layout = halves.party, halves.deployment.layout
        keys = make_joint_keys(engine, PARTIES, CONTEXT)
        masked = [program for program in MASKS_OF if program in halves.server.public.programs]
        own = cls(halves, keys, {program: halves.scores(program, bits) for program in masked})
        messages, first = own.messages, PARTIES[0]
        messages[first, PUBLIC_KEY] = engine.seal_public_key(first, keys.public_key)
        for name in PARTIES:
            mine = bits[layout.party_bits(name)]
            messages[name, ENCRYPTED_INPUTS] = engine.encrypt(name, mine, keys.public_key)
        digests = {name: sha256(messages[name, ENCRYPTED_INPUTS]).digest() for name in PARTIES}
        nonces = {name: os.urandom(SEED_BYTES) for name in PARTIES}
        messages[first, CHALLENGE] = engine.seal_challenge(CONTEXT, digests, nonces)
        for program in masked:
            own.evaluate(program)
            messages[first, MASKED_OF[program]] = engine.seal_masked(
                program, own.sealed[program], own.shares[program]
            )
            if program in compared:
                for name in PARTIES:
                    messages[name, MASKS_OF[program]] = engine.encrypt_masks(
                        program, name, keys.public_key, keys.secrets[name]
                    )
                own.evaluate(SIGN_OF[program])
        return own

    def evaluate(self, program: str) -> None:
        """Have the server evaluate a program, and all parties make their shares of the result."""
        engine = self.halves.party
        with recorded() as seen:
            sealed = self.sealed[program] = self.halves.server.evaluate(program, self.messages)
        self.shares[program] = {name: self.share(engine, program, name) for name in PARTIES}
        counts = coefficients_of_parts(self.halves.server.public, program)
        results = split_results(bytes(unseal(sealed)[1]), DEFAULT, counts)
        shares, label = split_shares(self.shares[program], counts), sha256(sealed).digest()
        masked, smudge = program in MASKS_OF, engine._budget(program).sigma_smudge
        apart = zeros_apart(program)
        zeros = 0 if apart else KNOWN_ZEROS
        outcome, *others = seen
        self.parts[program] = Part(*outcome, results[0], label, shares[0], smudge, masked, zeros)
        names = [(zeros_of(program), "known zeros", smudge)] if apart else []
        if len(others) > len(names):
            names += [(party, party, engine._check_smudge) for party in PARTIES]
        for (name, said, width), before, result, given in zip(
            names, others, results[1:], shares[1:], strict=True
        ):
            own = sha256(label + said.encode()).digest()
            self.parts[name] = Part(*before, result, own, given, width, False)

    def share(self, engine: LevelledParty, program: str, party: str) -> bytes:
        """Return a party's share of a program's result, made by `engine`."""
        return engine.partial(
            program,
            self.sealed[program],
            party,
            self.keys.public_key,
            self.keys.secrets[party],
            self.keys.pairwise[party],
        )

    def with_share_of(self, engine: LevelledParty, party: str, program: str) -> Signed:
        """Return the application in which a party's share of scores is made by another engine."""
        part = self.parts[program]
        share = self.share(engine, program, party)[: len(part.shares[party])]
        changed = replace(part, shares=part.shares | {party: share})
        return replace(self, parts=self.parts | {program: changed}, numbers={})

    @cached_property
    def secrets(self) -> dict[str, SecretShare]:
        return {p: SecretShare.from_bytes(s, DEFAULT) for p, s in self.keys.secrets.items()}

    @cached_property
    def key(self) -> PublicKey:
        return PublicKey.from_bytes(self.keys.public_key, DEFAULT)

    def words(self, program: str, party: str) -> Words:
        """Return the words that a party's secret gives for the scores of a program."""
        return self.halves.party._words(program, self.key, self.secrets[party])

    def phase(self, coalition: Collection[str], mask: Words, count: int) -> Words:
        """Return the first coefficients of mask·Σ S_p of the coalition."""
        total = np.zeros(count, np.uint64)
        for name in coalition:
            place = name, id(mask)  # masks are kept as long as the application
            if place not in self.products:
                self.products[place] = self.secrets[name].opens(mask, 2 * KNOWN_ZEROS)
            total += self.products[place][:count]
        return total

    def smudges(self, part: Part, party: str) -> Words:
        """Return the smudges in a party's share of a part, 0 for scores that have words."""
        own, count = self.secrets[party], len(part.result.bodies)
        if not part.masked:
            seed = derive(own.smudge_key, "smudge", self.key.digest, part.label)
            return Expander(seed).gaussian(count, part.smudge)
        seed = derive(own.smudge_key, "masked smudge", self.key.digest, part.label)
        zeros = Expander(seed).gaussian(KNOWN_ZEROS, part.smudge)
        return np.concatenate([np.zeros(part.outputs, np.uint64), zeros])

    def zero_shares(self, part: Part, party: str, coalition: Collection[str]) -> Words:
        """Return the sum of the zero shares that a party has with members of the coalition."""
        total = np.zeros(len(part.result.bodies), np.uint64)
        for other in coalition:
            seed = derive(self.keys.pairwise[party][other], "zero", part.label)
            words = Expander(seed).uniform_words(len(total))
            total += words if other > party else -words
        return total

    def first_bits(self, program: str, party: str, coalition: Collection[str]) -> Words:
        """Return what the coalition decodes of the encrypted top bit of each of a party's words."""
        count, bits = self.parts[program].outputs, self.halves.score_bits(program)
        own = MaskFormat.of(DEFAULT, bits, len(PARTIES))
        payload = unseal(self.messages[party, MASKS_OF[program]])[1]
        sent = decode_masks(payload, self.key, own, count)
        decoded = []
        for j in range(count):
            mask, body = sent.row(j * own.word_bits, own.parameters.levels)
            decoded.append(body[:1] - sum(self.secrets[name].opens(mask, 1) for name in coalition))
        return np.concatenate(decoded)


def zeros_of(program: str) -> str:
    """Return the name of the part with the known zeros of a program's signs."""
    return f"known zeros of {program}"


@contextmanager
def recorded() -> Iterator[list[tuple[Words, Words, Words]]]:
    """Record mask, body and flooding of everything that the server re-randomises."""
    seen: list[tuple[Words, Words, Words]] = []

    def watched(function: Any) -> Any:
        def rerandomise(mask: Words, body: Words, count: int, *given: Any) -> Result:
            drawn: list[Words] = []
            randomness = given[-1]
            gaussian = randomness.gaussian

            def noise(shape: Any, sigma: float) -> Words:
                drawn.append(gaussian(shape, sigma))
                return drawn[-1]

            randomness.gaussian = noise
            result: Result = function(mask, body, count, *given)
            flood = np.zeros(count, np.uint64)
            flood[-len(drawn[-1]) :] = drawn[-1]
            seen.append((mask.copy(), body.copy(), flood))
            return result

        return rerandomise

    names = ("rerandomise", "rerandomise_for_masks")
    own = {name: watched(getattr(server_module, name)) for name in names}
    with patch.multiple(server_module, **own):
        yield seen


def covered(application: Signed, coalition: Collection[str], program: str) -> dict[str, Words]:
    """Return the coalition's numbers for each score of a program, (outputs,) each, by name.

    A word of a missing party, or a product with its secret, is left in each of them.
    """
    place = coalition, program
    if place not in application.numbers:
        application.numbers[place] = _covered(application, coalition, program)
    return application.numbers[place]


def _covered(application: Signed, coalition: Collection[str], program: str) -> dict[str, Words]:
    part, missing = application.parts[program], [p for p in PARTIES if p not in coalition]
    count, before, after = part.outputs, part.mask, part.result.mask
    words = [application.words(program, name) for name in coalition]
    found = {
        "masked score": sum(words, start=part.opened()[:count]),
        "outcome": part.body[:count] - application.phase(coalition, before, count),
        "result": part.result.bodies[:count] - application.phase(coalition, after, count),
    }
    if coalition and missing:
        found["shares of the others"] = sum(
            words_from_bytes(part.shares[name], count + part.zeros)
            - application.zero_shares(part, name, coalition)
            for name in missing
        )[:count]
    if SIGN_OF[program] in application.parts:
        sign = application.parts[SIGN_OF[program]]
        for name, mask, body in (
            ("comparison", sign.mask, sign.body),
            ("result of the comparison", sign.result.mask, sign.result.bodies),
        ):
            found[name] = body[:count] - application.phase(coalition, mask, count)
        for name in missing:
            own = application.first_bits(program, name, coalition)
            found[f"first bit of the words of {name}"] = own
    return found


def noise(application: Signed, coalition: Collection[str], name: str) -> np.ndarray:
    """Return the noise that opens in a part without a score, in units of the torus.

    That is the noise of known zeros, of checks, and of signs around ±1/4, less the server's
    flooding and the coalition's smudges: the smudges of the missing parties and the noise of the
    evaluation are left.
    """
    part = application.parts[name]
    left = part.opened() - part.flood
    for member in coalition:
        left += application.smudges(part, member)
    if part.masked:
        return centred(left[part.outputs :])
    if name in MASKED_BY:
        approved = application.scores[MASKED_BY[name]] >= 0
        left[: part.outputs] -= np.where(approved, QUARTER, -QUARTER).astype(np.int64).view("u8")
    return centred(left)


def centred(words: Words) -> np.ndarray:
    """Return words as numbers in [-1/2, 1/2)."""
    return words.view(np.int64) * 2.0**-MODULUS_BITS
