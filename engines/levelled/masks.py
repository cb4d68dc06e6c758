"""Random words that mask the scores of a first opening, and their encryption for the comparison.

Every party draws one uniformly random word w per score and adds it to its share of the opening, so
that nobody who lacks one party's words learns anything from what opens (masked_opening.py). It also
sends the K most significant bits of each word as GGSW ciphertexts, with which the server removes
the masks under encryption and keeps only the sign (comparison.py). The other bits never leave the
party. Words serve for one opening: the same word in two openings shows the difference of two
scores.

The ciphertexts select in one path of products only, so they need far less precision than the
inputs' and have one digit and shorter words. K bits leave a quarter of half a score step or more
for noise: each party's lower bits change the sum by up to 2^-(K+1) either way once their mean is
added, in sum P·2^(p-K) of half a step 2^-(p+1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.levelled.encryption import encrypt_bits
from engines.levelled.ggsw import EncodedGgsw
from engines.levelled.keys import PublicKey
from engines.levelled.messages import join_inputs, split_inputs
from engines.levelled.parameters import MODULUS_BITS, Parameters, mask_parameters
from engines.levelled.randomness import Expander
from engines.levelled.words import Words
from utils.errors import ForeignMessage


@dataclass(frozen=True)
class MaskFormat:
    """The encoding of all parties' masks for scores of `score_bits` bits.

    `parameters` are those of the masks' ciphertexts; their ring and noise are the key's.
    """

    parameters: Parameters
    score_bits: int
    parties: int

    @classmethod
    def of(cls, parameters: Parameters, score_bits: int, parties: int) -> MaskFormat:
        """Return the format of the masks under a key of this profile."""
        return cls(mask_parameters(parameters), score_bits, parties)

    @property
    def word_bits(self) -> int:
        """K, the smallest with P·2^(p-K) at most 3/4; 14 for 12-bit scores of three parties."""
        extra = 0
        while 4 * self.parties > 3 << extra:
            extra += 1
        return self.score_bits + extra

    @property
    def truncation(self) -> float:
        """Bound on the change of a score's phase by the bits that are not sent, in torus units."""
        return self.parties * 2.0 ** -(self.word_bits + 1)

    @property
    def offset(self) -> int:
        """Public word added before a comparison: half a score step, and the mean of lower bits."""
        half_step = 1 << (MODULUS_BITS - self.score_bits - 1)
        return half_step + (self.parties << (MODULUS_BITS - self.word_bits - 1))

    def mask_bytes(self, outputs: int) -> int:
        """Return the size of one party's encrypted masks of `outputs` scores."""
        return self.parameters.inputs_bytes(outputs * self.word_bits)


def draw_words(outputs: int, randomness: Expander) -> Words:
    """Draw the masks of `outputs` scores, shape (outputs,), uniform and secret."""
    return randomness.uniform_words(outputs)


def encrypt_masks(
    words: Words, key: PublicKey, mask_format: MaskFormat, randomness: Expander
) -> bytes:
    """Return the key's digest and the encrypted words, (outputs,), word by word from the top bit.

    `randomness` must be fresh, and independent of the words.
    """
    kept = mask_format.word_bits
    places = np.arange(MODULUS_BITS - 1, MODULUS_BITS - 1 - kept, -1, dtype=np.uint64)
    bits = ((words[:, None] >> places) & np.uint64(1)).astype(np.uint8).reshape(-1)
    parameters = mask_format.parameters
    return join_inputs(key.digest, encrypt_bits(bits, key, parameters, randomness), parameters)


def decode_masks(
    payload: bytes | memoryview, key: PublicKey, mask_format: MaskFormat, outputs: int
) -> EncodedGgsw:
    """Check a party's encrypted masks of `outputs` scores, and prepare them for decoding.

    Raises MalformedMessage unless the size is `mask_bytes(outputs)`, and ForeignMessage if the
    masks are encrypted under another key. Any word is valid, so no more can be checked.
    """
    bits = outputs * mask_format.word_bits
    digest, ciphertexts = split_inputs(payload, bits, mask_format.parameters)
    if digest != key.digest:
        raise ForeignMessage(
            "The masks are not encrypted under this application's public key; open a new "
            "application."
        )
    return ciphertexts
