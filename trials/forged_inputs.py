"""Ciphertexts of a cheating party: rows that are not a GGSW of a bit, and bits of no record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engines.levelled.encryption import encrypt_bits, zeros
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.parameters import Parameters
from engines.levelled.randomness import Expander
from engines.levelled.words import Words
from features.encoding import Bits, ColumnCode
from features.schema import CategoricalColumn, OrdinalColumn


@dataclass(frozen=True)
class Forger:
    """Encrypts under a public key as an honest party does, except for what is forged."""

    key: PublicKey
    parameters: Parameters

    def encrypted(self, bits: Bits) -> Ggsw:
        """Return honest ciphertexts, as they are sent."""
        made = encrypt_bits(bits, self.key, self.parameters, Expander.fresh())
        return made.cut(self.parameters)

    def rows(self, messages: Words) -> Ggsw:
        """Return one ciphertext with the message polynomials (2l, N) added to its rows."""
        shape = (1, self.parameters.rows, self.parameters.n)
        made = zeros(self.key, self.parameters.rows, self.parameters, Expander.fresh())
        masks, bodies = made[0].reshape(shape), made[1].reshape(shape)
        masks[0, : self.parameters.levels] += messages[: self.parameters.levels]
        bodies[0, self.parameters.levels :] += messages[self.parameters.levels :]
        return Ggsw(masks, bodies).cut(self.parameters)

    def number(self, *values: float, exponent: int = 0) -> Ggsw:
        """Return a ciphertext of value·X^exponent, with one value for all rows or one for each."""
        messages = np.zeros((self.parameters.rows, self.parameters.n), np.uint64)
        for row in range(self.parameters.rows):
            gadget = int(self.parameters.gadget(row % self.parameters.levels))
            messages[row, exponent] = round(values[row % len(values)] * gadget) % 2**64
        return self.rows(messages)

    def garbage(self, masks: bool, bodies: bool) -> Ggsw:
        """Return a ciphertext of 1 with random words in its masks or bodies."""
        honest, shape = self.number(1), (1, self.parameters.rows, self.parameters.n)
        words = Expander.fresh().uniform_words((2, *shape))
        return Ggsw(words[0] if masks else honest.masks, words[1] if bodies else honest.bodies).cut(
            self.parameters
        )

    def without_mask(self) -> Ggsw:
        """Return masks of 7 and bodies of 1, of which the first body row is exactly 1, its mask 0.

        The operand R - g is then 0 and would test nothing.
        """
        forged, row = self.number(7, 7, 1, 1), self.parameters.levels
        forged.masks[0, row], forged.bodies[0, row] = 0, 0
        forged.bodies[0, row, 0] = self.parameters.gadget(0)
        return forged


FORGED_BITS: Mapping[str, Callable[[Forger], Ggsw]] = {
    "7": lambda forger: forger.number(7),
    "2": lambda forger: forger.number(2),
    "-1": lambda forger: forger.number(-1),
    "1.5": lambda forger: forger.number(1.5),
    "1 + 2^-4": lambda forger: forger.number(1 + 2**-4),
    "4096": lambda forger: forger.number(4096),
    "1 + 2^15": lambda forger: forger.number(1 + 2**15),
    "X^5": lambda forger: forger.number(1, exponent=5),
    "masks of 1, bodies of 0": lambda forger: forger.number(1, 1, 0, 0),
    "masks of 0, bodies of 1": lambda forger: forger.number(0, 0, 1, 1),
    "body rows of 1 and 5": lambda forger: forger.number(1, 1, 1, 5),
    "mask rows of 1 and 5": lambda forger: forger.number(1, 5, 1, 1),
    "garbage masks": lambda forger: forger.garbage(masks=True, bodies=False),
    "garbage bodies": lambda forger: forger.garbage(masks=False, bodies=True),
    "masks of 7, bodies of 1 without mask": Forger.without_mask,
}
"""Forged ciphertexts in place of one bit's, for the two levels of all profiles."""


def two_ones(code: ColumnCode) -> Bits:
    bits: Bits = code.table[0].copy()
    bits[-1] = 1
    return bits


def none(code: ColumnCode) -> Bits:
    return np.zeros(code.n_bits, np.uint8)


def hole(code: ColumnCode) -> Bits:
    """Return a thermometer code whose first bit is 0 and whose second is 1."""
    bits = np.zeros(code.n_bits, np.uint8)
    bits[1] = 1
    return bits


def missing_and_given(code: ColumnCode) -> Bits:
    """Return a code that has both a value and the bit `is missing`."""
    bits: Bits = code.table[-1].copy()
    bits[0] = 1
    return bits


def _thermometer(code: ColumnCode) -> bool:
    return isinstance(code.column, OrdinalColumn) and len(code.column.cuts) > 1


FORGED_RECORDS: Mapping[str, tuple[Callable[[ColumnCode], bool], Callable[[ColumnCode], Bits]]] = {
    "two ones": (lambda code: isinstance(code.column, CategoricalColumn), two_ones),
    "no one": (lambda code: isinstance(code.column, CategoricalColumn), none),
    "hole": (_thermometer, hole),
    "missing and given": (lambda code: code.column.optional, missing_and_given),
}
"""Bits of no record, for the columns for which they are possible."""


def forged_upload(
    kind: str,
    codes: tuple[ColumnCode, ...],
    bits: Bits,
    forger: Forger,
    generator: np.random.Generator,
) -> Ggsw:
    """Return one party's ciphertexts of `bits`, shape (bits of the party,), with one forgery.

    Raises ValueError if the party has no column for this kind.
    """
    start = codes[0].first_bit
    if kind in FORGED_RECORDS:
        possible, forge = FORGED_RECORDS[kind]
        own = [code for code in codes if possible(code)]
        if not own:
            raise ValueError(f"no column for {kind}")
        code = own[generator.integers(len(own))]
        bits = bits.copy()
        bits[code.first_bit - start : code.first_bit - start + code.n_bits] = forge(code)
        return forger.encrypted(bits)
    return with_bit(
        forger.encrypted(bits), int(generator.integers(len(bits))), FORGED_BITS[kind](forger)
    )


def with_bit(upload: Ggsw, position: int, forged: Ggsw) -> Ggsw:
    """Return an upload with another ciphertext of one bit."""
    masks, bodies = upload.masks.copy(), upload.bodies.copy()
    masks[position], bodies[position] = forged.masks[0], forged.bodies[0]
    return Ggsw(masks, bodies)
