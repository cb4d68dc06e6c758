"""The noise terms of a selection tree, and the noise budget of its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.levelled.noise import NoiseBudget, NoiseModel
from engines.levelled.parameters import KNOWN_ZEROS, Parameters
from engines.levelled.selection import SelectionTree
from utils.errors import NoiseBudgetExceeded


@dataclass(frozen=True)
class NoiseTerms:
    """The quantities that determine the noise of a result.

    `products` is the number of external products; `linear` bounds the sum of (c·mul)² over the body
    rows that are added without a product (see SelectionTree.squares).
    """

    products: int
    linear: int


def linear_row(score_bits: int, parameters: Parameters) -> tuple[int, int]:
    """Return (j, mul): the body row for linear terms, and the factor 2^(β(j+1) - score_bits).

    Raises NoiseBudgetExceeded if no gadget element is as fine as a step of the score.
    """
    level = -(-score_bits // parameters.base_log) - 1
    if level >= parameters.levels:
        raise NoiseBudgetExceeded(
            f"Scores of {score_bits} bits are too fine for profile {parameters.profile}, which has "
            f"{parameters.levels} digits of {parameters.base_log} bits; use fewer score bits."
        )
    return level, 1 << (parameters.base_log * (level + 1) - score_bits)


def noise_terms(tree: SelectionTree, parameters: Parameters) -> NoiseTerms:
    """Return the noise terms of a program, as input to the noise model."""
    _, mul = linear_row(tree.score_bits, parameters)
    return NoiseTerms(tree.products, tree.squares * mul * mul)


def noise_budgets(
    trees: Mapping[str, SelectionTree], parties: int, parameters: Parameters
) -> dict[str, NoiseBudget]:
    """Return the budget of every program; raises NoiseBudgetExceeded."""
    model = NoiseModel(parameters, parties)
    budgets = {}
    for name, tree in trees.items():
        terms = noise_terms(tree, parameters)
        # A constant program has no noise of its own, but the model divides by it.
        linear = max(terms.linear, 1)
        opened = tree.outputs + KNOWN_ZEROS
        budgets[name] = model.budget(name, tree.score_bits, terms.products, linear, opened)
    return budgets
