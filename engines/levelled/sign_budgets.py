"""The noise of signs: of the comparison's chain of CMUXes, and of a score at its border.

A comparison can fail in two ways.

- Its result carries the noise of one external product for each bit of each mask, since a CMUX
  chooses one of two nodes and adds the product's noise to the chosen one's; of all outputs
  together, which share one ciphertext. This noise is opened. It does not depend on the model, but
  does on masks and secrets, so it gets flooding and smudges as a score's does (`sign_budget`).
- The phase that is compared has the noise of the program and of the re-randomisation. Next to the
  border, at scores 0 and -1 and, around the torus, at the two extremes, it has half a step to it,
  less what the words' lower bits may take (`border_failure_log2`). A failure there turns a decision
  without an error.

Source: Chillotti, Gama, Georgieva, Izabachène, J. Cryptology 33 (2020), lemma 3.16, for a chain of
CMUXes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engines.interface import SIGN_OF
from engines.levelled.budgets import noise_terms
from engines.levelled.masks import MaskFormat
from engines.levelled.messages import compared_bits
from engines.levelled.noise import REQUIRED_LOG2, NoiseBudget, NoiseModel, failure_log2
from engines.levelled.parameters import KNOWN_ZEROS, SIGN_BITS, ZERO_BITS, Parameters
from engines.levelled.selection import SelectionTree
from utils.errors import NoiseBudgetExceeded


def sign_variance(mask_format: MaskFormat, outputs: int) -> float:
    """Return the variance of a coefficient of all signs' sum: outputs·P·K·V_ep.

    The same for levels, since a product's noise does not depend on the table.
    """
    model = NoiseModel(mask_format.parameters, mask_format.parties)
    chain = mask_format.parties * mask_format.word_bits
    return outputs * chain * model.external_product_variance()


def sign_budget(mask_format: MaskFormat, outputs: int, bits: int = SIGN_BITS) -> NoiseBudget:
    """Divide the 1/8 around ±1/4 among the noise of `outputs` signs, flooding and smudges.

    The failure is that a sign or a known zero opens as an error, or a sign as the opposite one. For
    levels, `bits` is LEVEL_BITS, and what is divided is the 1/16 around each. Raises
    NoiseBudgetExceeded, as for scores, if there is too little room.
    """
    model = NoiseModel(mask_format.parameters, mask_format.parties)
    return model.divided(bits, sign_variance(mask_format, outputs), outputs + KNOWN_ZEROS)


def border_failure_log2(
    mask_format: MaskFormat, program_variance: float, outputs: int, added_variance: float = 0.0
) -> float:
    """Return log2 of the probability that noise turns the sign of one of `outputs` scores.

    The same for levels, whose edges have the same distance to the next scores.

    All scores are taken to be next to the border, and the words' lower bits to be the worst ones.
    `added_variance` is that of noise added to scores before the comparison, which a masked opening
    does not need.
    """
    model = NoiseModel(mask_format.parameters, mask_format.parties)
    left = 2.0 ** -(mask_format.score_bits + 1) - mask_format.truncation
    sigma = math.sqrt(model.opened_variance(program_variance) + added_variance)
    return failure_log2(left, sigma, outputs)


@dataclass(frozen=True)
class SignBudgets:
    """The noise of both openings of a program of which only signs, or levels, are opened.

    `zeros` is the budget of the masked opening's known zeros, `signs` that of the second opening.
    `border_log2` is log2 of the probability that noise turns a sign, or moves a score over an edge.
    """

    zeros: NoiseBudget
    signs: NoiseBudget
    border_log2: float


def sign_budgets(
    trees: Mapping[str, SelectionTree], parties: int, parameters: Parameters
) -> dict[str, SignBudgets]:
    """Return the budgets of every program.

    Raises NoiseBudgetExceeded if there is too little room, or if noise turns a sign of a program
    with a probability above 2^-64.
    """
    model = NoiseModel(parameters, parties)
    budgets = {}
    for name, tree in trees.items():
        mask_format = MaskFormat.of(parameters, tree.score_bits, parties)
        terms = noise_terms(tree, parameters)
        # A constant program has no noise of its own, but the model divides by it.
        variance = model.program_variance(terms.products, max(terms.linear, 1))
        border = border_failure_log2(mask_format, variance, tree.outputs)
        if border > REQUIRED_LOG2:
            raise NoiseBudgetExceeded(
                f"The noise of program {name[:40]} at {tree.score_bits} bits turns a sign with "
                f"probability 2^{border:.1f}; 2^{REQUIRED_LOG2:.0f} is required (profile "
                f"{parameters.profile}). Use fewer score bits or a smaller model."
            )
        budgets[name] = SignBudgets(
            zeros=model.divided(ZERO_BITS, variance, KNOWN_ZEROS),
            signs=sign_budget(mask_format, tree.outputs, compared_bits(SIGN_OF[name])),
            border_log2=border,
        )
    return budgets
