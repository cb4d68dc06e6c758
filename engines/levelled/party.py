"""The party's half: key shares, encryption of the party's own inputs, and decryption shares."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

from engines.envelope import Header, seal, unseal_as
from engines.interface import (
    CHALLENGE,
    DECIDE,
    ENCRYPTED_INPUTS,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PUBLIC_KEY,
    REASONS,
    SIGN_OF,
    JointPartyEngine,
    KeyShare,
    PublicModel,
)
from engines.levelled import bounds, keys, opening
from engines.levelled.challenge import challenge
from engines.levelled.comparison import combine_signs
from engines.levelled.encryption import encrypt_bits
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.levels import combine_levels
from engines.levelled.masked_opening import masked_partial, masked_scores
from engines.levelled.masks import MaskFormat, draw_words, encrypt_masks
from engines.levelled.messages import (
    RESULT,
    ClientFacts,
    ProgramBudget,
    compared_bits,
    header,
    join_inputs,
)
from engines.levelled.opening import Result
from engines.levelled.parameters import KNOWN_ZEROS, SEED_BYTES, Parameters
from engines.levelled.randomness import Expander, derive
from engines.levelled.results import (
    coefficients_of_parts,
    split_results,
    split_shares,
    zeros_apart,
)
from engines.levelled.well_formed import CHECK_BITS, check_budget, verdict
from engines.levelled.words import Words, words_to_bytes
from features.encoding import Bits, Layout
from model.referral import outcome_of
from utils.errors import ForeignMessage, InvalidInputs, MalformedMessage

_COMMON = b"triseal levelled common randomness 1"


class LevelledParty(JointPartyEngine):
    """Built from the public model and the engine's client files alone; stores no secret."""

    def __init__(self, public: PublicModel, client_files: bytes) -> None:
        """Raises MalformedMessage or ForeignMessage if the client files do not fit the model.

        Raises UnsafeParameters if they are outside this party's own bounds.
        """
        self.facts = public.engine
        self._public = public
        self._layout = Layout(public.schema_)
        self._parties = public.schema_.party_names
        client = ClientFacts.from_archive(client_files)
        bounds.check_bounds(public, client)
        self._parameters = Parameters.by_profile(client.profile)
        self._budgets = client.budgets
        if public.checked:
            # Not from the server: a party computes the noise of checks from the schema itself.
            self._check_smudge = check_budget(self._layout, self._parameters).sigma_smudge
        stated = {
            name: compared_bits(name) if name in MASKED_BY else program.score_bits
            for name, program in public.programs.items()
        }
        if {name: b.score_bits for name, b in client.budgets.items()} != stated:
            raise ForeignMessage("The client files belong to other programs; load them again.")

    def seed_share(self) -> bytes:
        return os.urandom(SEED_BYTES)

    def common(self, context: bytes, seeds: Mapping[str, bytes]) -> bytes:
        self._check_parties(seeds, self._parties)
        digest = hashlib.sha256(_COMMON)
        for part in [context, *(x for n in sorted(seeds) for x in (n.encode(), seeds[n]))]:
            digest.update(len(part).to_bytes(8, "little") + part)
        if any(len(seed) != SEED_BYTES for seed in seeds.values()):
            raise MalformedMessage(
                f"A share of the common randomness is not {SEED_BYTES} bytes long."
            )
        return digest.digest()

    def key_share(self, common: bytes) -> KeyShare:
        self._check_common(common)
        secret, share = keys.key_share(common, self._parameters, Expander.fresh())
        return KeyShare(secret=secret.to_bytes(), share=share)

    def collective_key(self, common: bytes, shares: Mapping[str, bytes]) -> bytes:
        self._check_common(common)
        self._check_parties(shares, self._parties)
        return keys.collective_key(common, shares, self._parameters).to_bytes()

    def seal_public_key(self, party: str, public_key: bytes) -> bytes:
        self._key(public_key)
        return seal(self._header(PUBLIC_KEY, party), public_key)

    def encrypt(self, party: str, bits: Bits, public_key: bytes) -> bytes:
        own = self._layout.party_bits(party)
        if bits.shape != (own.stop - own.start,) or bits.max(initial=0) > 1:
            raise MalformedMessage(f"These are not the {own.stop - own.start} bits of {party}.")
        key = self._key(public_key)
        ciphertexts = encrypt_bits(bits, key, self._parameters, Expander.fresh())
        return seal(
            self._header(ENCRYPTED_INPUTS, party),
            join_inputs(key.digest, ciphertexts, self._parameters),
        )

    def encrypt_masks(self, program: str, party: str, public_key: bytes, secret: bytes) -> bytes:
        key, own = self._key(public_key), SecretShare.from_bytes(secret, self._parameters)
        words = self._words(program, key, own)
        payload = encrypt_masks(words, key, self._mask_format(program), Expander.fresh())
        return seal(self._header(MASKS_OF[program], party), payload)

    def seal_challenge(
        self, context: bytes, inputs: Mapping[str, bytes], nonces: Mapping[str, bytes]
    ) -> bytes:
        self._check_parties(inputs, self._parties)
        ordered = {party: inputs[party] for party in self._parties}
        seed = challenge(context, ordered, nonces)
        return seal(self._header(CHALLENGE, self._parties[0]), seed)

    def seal_masked(self, program: str, result: bytes, partials: Mapping[str, bytes]) -> bytes:
        self._check_parties(partials, self._parties)
        outcome, *checks = self._results(program, result)
        own, *others = self._shares(program, partials)
        opened = {
            party: opening.opened(check, shares, CHECK_BITS)
            for party, check, shares in zip(self._parties, checks, others, strict=bool(checks))
        }
        failed = verdict(opened)
        if failed:
            raise InvalidInputs(
                f"The encrypted inputs of {', '.join(failed)} are not the bits of a record. "
                "Nothing was opened, and the keys are erased. Open a new application, and ask "
                f"{', '.join(failed)} for the cause."
            )
        masked = masked_scores(outcome, own)
        return seal(self._header(MASKED_OF[program], self._parties[0]), words_to_bytes(masked))

    def _words(self, program: str, key: PublicKey, secret: SecretShare) -> Words:
        """Return the party's masks of a program's scores, which follow from its secret.

        So they need no file of their own and are erased with the secret.
        """
        seed = derive(secret.smudge_key, "mask words", key.digest, program.encode())
        return draw_words(len(self._public.programs[program].outputs), Expander(seed))

    def _mask_format(self, program: str) -> MaskFormat:
        bits = self._budget(program).score_bits
        return MaskFormat.of(self._parameters, bits, len(self._parties))

    def check_result(self, program: str, result: bytes) -> None:
        self._results(program, result)

    def partial(
        self,
        program: str,
        result: bytes,
        party: str,
        public_key: bytes,
        secret: bytes,
        pairwise: Mapping[str, bytes],
    ) -> bytes:
        self._check_parties({*pairwise, party}, self._parties)
        self._check_parties(pairwise, [name for name in self._parties if name != party])
        opened, *others = self._results(program, result)
        digest = hashlib.sha256(result).digest()
        zeros = 0 if zeros_apart(program) else KNOWN_ZEROS
        bounds.check_outputs(program, len(opened.bodies) - zeros, self._public.schema_)
        key, own = self._key(public_key), SecretShare.from_bytes(secret, self._parameters)
        smudge = self._budget(program).sigma_smudge
        if self._public.masked(program):
            words = self._words(program, key, own)
            share = masked_partial(opened, digest, party, key, own, words, smudge, pairwise)
            return share + self._check_shares(others, digest, party, key, own, pairwise)
        share = opening.partial(opened, digest, party, key, own, smudge, pairwise)
        for zero in others:
            label = hashlib.sha256(digest + b"known zeros").digest()
            share += opening.partial(zero, label, party, key, own, smudge, pairwise)
        return share

    def _check_shares(
        self,
        checks: Sequence[Result],
        digest: bytes,
        party: str,
        key: PublicKey,
        own: SecretShare,
        pairwise: Mapping[str, bytes],
    ) -> bytes:
        """Return this party's shares of all parties' checks, one after the other."""
        shares = []
        for name, check in zip(self._parties, checks, strict=bool(checks)):
            label = hashlib.sha256(digest + name.encode()).digest()
            smudge = self._check_smudge
            shares.append(opening.partial(check, label, party, key, own, smudge, pairwise))
        return b"".join(shares)

    def combine(
        self, program: str, result: bytes, partials: Mapping[str, bytes]
    ) -> tuple[float, ...]:
        self._check_parties(partials, self._parties)
        results, shares = self._results(program, result), self._shares(program, partials)
        if program == SIGN_OF[REASONS]:
            return tuple(float(level) for level in combine_levels(results, shares))
        if program in MASKED_BY:
            signs = tuple(0.0 if sign else -1.0 for sign in combine_signs(results, shares))
            if program == SIGN_OF[DECIDE]:
                outcome_of(signs)  # raises if there is none
            return signs
        scores = opening.combine(results[0], shares[0], self._budget(program).score_bits)
        return tuple(float(score) for score in scores)

    def _header(self, kind: str, party: str | None = None, program: str | None = None) -> Header:
        return header(
            self._public.model_version, kind, party, program, profile=self._parameters.profile
        )

    def _budget(self, program: str) -> ProgramBudget:
        try:
            return self._budgets[program]
        except KeyError:
            raise ForeignMessage(f"This model has no program {program[:40]!r}.") from None

    def _results(self, program: str, message: bytes) -> list[Result]:
        self._budget(program)
        payload = unseal_as(self._header(RESULT, program=program), message)
        counts = coefficients_of_parts(self._public, program)
        return split_results(payload, self._parameters, counts)

    def _shares(self, program: str, partials: Mapping[str, bytes]) -> list[dict[str, bytes]]:
        """Return all parties' shares of every part of the program's result."""
        return split_shares(partials, coefficients_of_parts(self._public, program))

    def _key(self, public_key: bytes) -> PublicKey:
        return PublicKey.from_bytes(public_key, self._parameters)

    @staticmethod
    def _check_common(common: bytes) -> None:
        if len(common) != SEED_BYTES:
            raise MalformedMessage(f"The common randomness is not {SEED_BYTES} bytes long.")

    @staticmethod
    def _check_parties(given: Iterable[str], expected: Iterable[str]) -> None:
        if set(given) != set(expected):
            raise MalformedMessage(
                f"Exactly the shares of {', '.join(sorted(expected))} are needed, but the shares "
                f"given are of {', '.join(sorted(str(name)[:40] for name in given)) or 'nobody'}."
            )
