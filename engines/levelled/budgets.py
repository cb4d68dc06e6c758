"""What a selection tree costs in noise, and the budget that its program gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.levelled.noise import NoiseBudget, NoiseModel
from engines.levelled.parameters import KNOWN_ZEROS, Parameters
from engines.levelled.selection import SelectionTree
from utils.errors import NoiseBudgetExceeded


@dataclass(frozen=True)
class NoiseTerms:
    """What the noise of a result grows with.

    `products` external products, and `linear`, a bound of the sum of (c·mul)² over the body rows
    that enter without one (see SelectionTree.squares).
    """

    products: int
    linear: int


def linear_row(score_bits: int, parameters: Parameters) -> tuple[int, int]:
    """(j, mul): the body row that linear terms use, and the factor 2^(β(j+1) - score_bits).

    Raises NoiseBudgetExceeded where no gadget element is as fine as a step of the score.
    """
    level = -(-score_bits // parameters.base_log) - 1
    if level >= parameters.levels:
        raise NoiseBudgetExceeded(
            f"Scores of {score_bits} bits are finer than the {parameters.levels} digits of "
            f"{parameters.base_log} bits of profile {parameters.profile}; use fewer score bits."
        )
    return level, 1 << (parameters.base_log * (level + 1) - score_bits)


def noise_terms(tree: SelectionTree, parameters: Parameters) -> NoiseTerms:
    """What the noise model asks of a program."""
    _, mul = linear_row(tree.score_bits, parameters)
    return NoiseTerms(tree.products, tree.squares * mul * mul)


def noise_budgets(
    trees: Mapping[str, SelectionTree], parties: int, parameters: Parameters
) -> dict[str, NoiseBudget]:
    """The budget of every program; raises NoiseBudgetExceeded."""
    model = NoiseModel(parameters, parties)
    budgets = {}
    for name, tree in trees.items():
        terms = noise_terms(tree, parameters)
        # A constant program has no noise of its own; the model divides by what it has.
        linear = max(terms.linear, 1)
        opened = tree.outputs + KNOWN_ZEROS
        budgets[name] = model.budget(name, tree.score_bits, terms.products, linear, opened)
    return budgets
