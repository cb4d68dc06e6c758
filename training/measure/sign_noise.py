"""Measured noise of opened signs against the model that budgets it.

Masked scores and masks are drawn at random: the noise of a comparison depends on neither the model
nor the scores.
"""

from __future__ import annotations

import os

import numpy as np

from engines.levelled.ceremony import WholeKey, pairwise_keys
from engines.levelled.comparison import rotated_bits, signs, table_cover
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.opening import partial, rerandomise
from engines.levelled.parameters import DIGEST_BYTES, MODULUS_BITS, SEED_BYTES
from engines.levelled.randomness import Expander
from engines.levelled.sign_budgets import SignBudgets
from engines.levelled.words import Words, sum_of_words

_QUARTER = 1 << (MODULUS_BITS - 2)
_MORE = 8
"""Most coefficients measured besides signs; the table's next values come after them."""


def sign_noise(
    key: WholeKey, score_bits: int, outputs: int, budgets: SignBudgets, runs: int, openings: int
) -> tuple[list[Words], list[Words]]:
    """Return the errors of the signs' phases, before and after the real opening.

    Each item has the errors of the `outputs` signs, as centred words, and for more samples those of
    the coefficients after them, which have the same noise and are 0 with masks of bits. `runs`
    comparisons are made, and each result is opened `openings` times.
    """
    own = MaskFormat.of(key.parameters, score_bits, len(key.secrets))
    stride = 2 * key.parameters.n >> rotated_bits(key.parameters.n, outputs, own.word_bits)
    count = outputs + min(_MORE, stride - outputs)
    errors, opened = [], []
    for _ in range(runs):
        masked = Expander.fresh().uniform_words(outputs)
        masks = [_mask(key, own, outputs) for _ in key.secrets]
        decoded = [decode_masks(sent, key.public, own, outputs) for sent in masks]
        cover = table_cover(key.public, os.urandom(SEED_BYTES), outputs)
        mask, body = signs(masked, decoded, own, cover)
        errors.append(_errors(key.phase(mask, body)[:count], outputs))
        for _ in range(openings):
            opened.append(_errors(_opened(key, mask, body, count, budgets), outputs))
    return errors, opened


def _mask(key: WholeKey, own: MaskFormat, outputs: int) -> bytes:
    """Return one party's encrypted masks."""
    words = draw_words(outputs, Expander.fresh())
    return encrypt_masks(words, key.public, own, Expander.fresh())


def _opened(key: WholeKey, mask: Words, body: Words, count: int, budgets: SignBudgets) -> Words:
    """Return the opened phases of a comparison's result, shape (count,)."""
    budget, fresh = budgets.signs, Expander.fresh()
    result = rerandomise(mask, body, count, budget.sigma_flood, key.public, key.parameters, fresh)
    digest = os.urandom(DIGEST_BYTES)  # a different result each time
    pairwise = pairwise_keys(list(key.secrets))
    parts = {
        party: partial(
            result, digest, party, key.public, secret, budget.sigma_smudge, pairwise[party]
        )
        for party, secret in key.secrets.items()
    }
    return result.bodies - sum_of_words(parts, len(result.bodies))


def _errors(phases: Words, outputs: int) -> Words:
    """Return the distances of signs from ±1/4, and of the other coefficients from 0."""
    errors = phases.view(np.int64).copy()
    errors[:outputs] = np.abs(errors[:outputs]) - _QUARTER
    return errors.view(np.uint64)
