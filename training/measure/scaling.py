"""Scaling of the levelled engine with the size of the model and the number of applicants.

Models are unrestricted XGBoost models of the deployment's training rows. Their leaves are rounded
to the width that the noise guard allows; the search for the best rounding is omitted, because it
changes coefficients but hardly any product. The times cover the server's work on received
ciphertexts: transform and evaluate. Every score is compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.interface import DECIDE, EXPLAIN
from engines.levelled.budgets import noise_budgets
from engines.levelled.build import SCORE_WIDTHS
from engines.levelled.ceremony import WholeKey
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import Ggsw
from engines.levelled.noise import NoiseBudget
from engines.levelled.parameters import DEFAULT
from engines.levelled.selection import SelectionTree
from engines.levelled.words import round_to_bits
from features.encoding import Bits, Layout
from features.variations import explained_labels
from model.booster import Ensemble, Leaf, Tree, parse_ensemble
from model.plan import Plan
from model.polynomial import Polynomial, substitute
from model.program import Program, explained_variants
from model.quantise import real_polynomial
from training.measure.unmodified import train_unmodified
from training.models import Labels
from utils.errors import EvaluationFailed, ModelTooLarge, NoiseBudgetExceeded

SHAPES = tuple((trees, depth) for trees in (10, 40, 100, 300) for depth in (1, 2, 3, 4))
"""All shapes; together they take about a minute."""
QUICK_SHAPES = ((5, 1), (5, 2))
BATCHES = (1, 10, 100)
QUICK_BATCHES = (1, 2)
BATCH_SHAPE = (40, 3)
QUICK_BATCH_SHAPE = QUICK_SHAPES[-1]

_APPLICANTS = 10
"""Distinct applicants; larger batches repeat them, because the transforms of more would not fit
into the memory of a small machine."""
_RUNS = 3


@dataclass(frozen=True)
class Model:
    """One compiled shape: the programs, and their selection trees and noise budgets by name."""

    shape: tuple[int, int]
    score_bits: int
    programs: dict[str, Program]
    trees: dict[str, SelectionTree]
    budgets: dict[str, NoiseBudget]


def scaling(
    layout: Layout, training: tuple[Bits, Labels], applicants: Bits, quick: bool = False
) -> dict[str, Any]:
    """Return two tables: `models` by shape for one applicant, and `batches` of one model by size.

    `applicants` has shape (rows, n_bits). Raises EvaluationFailed if a score is wrong.
    """
    parties = layout.schema.party_names
    key = WholeKey.make(parties, DEFAULT)
    rows = applicants[:_APPLICANTS]
    ciphertexts = [key.encrypted(bits) for bits in rows]
    models = []
    batches: list[dict[str, Any]] = []
    for shape in QUICK_SHAPES if quick else SHAPES:
        model = compiled(shape, layout, training)
        if model is None:
            models.append({"trees": shape[0], "depth": shape[1], "score_bits": None})
            continue
        models.append(_measured(model, key, rows, ciphertexts))
        if shape == (QUICK_BATCH_SHAPE if quick else BATCH_SHAPE):
            for size in QUICK_BATCHES if quick else BATCHES:
                batches.append(_batch(model, key, rows, ciphertexts, size))
    return {"models": models, "batches": batches}


def compiled(shape: tuple[int, int], layout: Layout, training: tuple[Bits, Labels]) -> Model | None:
    """Compile a model of (trees, depth) with the widest scores that the guard allows, or None."""
    booster = json.loads(train_unmodified(*training, *shape))
    return _widest(shape, parse_ensemble(booster, layout), layout)


def costs(
    boosters: Sequence[bytes], layout: Layout, applicants: Bits
) -> list[dict[str, Any] | None]:
    """Return products and times of each model, as in `scaling`; None for one that is refused.

    `applicants` has shape (rows, n_bits). A model is refused by the noise guard, or for having more
    trees than programs are made of. Raises EvaluationFailed if a score is wrong.
    """
    key = WholeKey.make(layout.schema.party_names, DEFAULT)
    rows = applicants[:_APPLICANTS]
    ciphertexts = [key.encrypted(bits) for bits in rows]
    found: list[dict[str, Any] | None] = []
    for booster in boosters:
        try:
            ensemble = parse_ensemble(json.loads(booster), layout)
        except ModelTooLarge:
            found.append(None)
            continue
        depth = max(len(leaf.path) for tree in ensemble.trees for leaf in tree.leaves)
        model = _widest((len(ensemble.trees), depth), ensemble, layout)
        found.append(None if model is None else _measured(model, key, rows, ciphertexts))
    return found


def _widest(shape: tuple[int, int], ensemble: Ensemble, layout: Layout) -> Model | None:
    """Return the model with the widest scores that the noise guard allows, or None."""
    for width in SCORE_WIDTHS:
        programs = leafwise_programs(ensemble, layout, width)
        trees = {name: SelectionTree.of(program) for name, program in programs.items()}
        try:
            budgets = noise_budgets(trees, len(layout.schema.parties), DEFAULT)
        except NoiseBudgetExceeded:
            continue
        return Model(shape, width, programs, trees, budgets)
    return None


def leafwise_programs(ensemble: Ensemble, layout: Layout, width: int) -> dict[str, Program]:
    """Return both programs, with every leaf rounded separately and the range of sums centred.

    Since every leaf is an integer, all coefficients are integers and no sum leaves the range. The
    programs have no plan, because no engine with lookup tables runs them.
    """
    lows = [min(leaf.value for leaf in tree.leaves) for tree in ensemble.trees]
    highs = [max(leaf.value for leaf in tree.leaves) for tree in ensemble.trees]
    scale = ((1 << width) - 2 - len(ensemble.trees)) / max(sum(highs) - sum(lows), 1e-9)
    rounded = tuple(
        Tree(
            tuple(
                Leaf(leaf.path, float(np.rint(leaf.value * scale)), leaf.cover) for leaf in t.leaves
            )
        )
        for t in ensemble.trees
    )
    middle = float(np.rint((sum(highs) + sum(lows)) * scale / 2))
    terms = real_polynomial(Ensemble(rounded, -middle), layout)
    polynomial = {m: np.array([round(c)], np.int64) for m, c in terms.items()}
    variants = explained_variants(layout)
    labels = explained_labels(layout.schema)
    return {
        DECIDE: _program(DECIDE, ("score",), width, scale, polynomial, layout),
        EXPLAIN: _program(EXPLAIN, labels, width, scale, substitute(polynomial, variants), layout),
    }


def _program(
    name: str,
    outputs: tuple[str, ...],
    width: int,
    scale: float,
    polynomial: Polynomial,
    layout: Layout,
) -> Program:
    half = 1 << (width - 1)
    return Program(
        name=name,
        schema_fingerprint=layout.schema.fingerprint(),
        outputs=outputs,
        score_bits=width,
        scale=scale,
        rounding_bound=0.0,
        low=-half,
        high=half - 1,
        polynomial=polynomial,
        plan=Plan(np.zeros((len(outputs), layout.n_states), np.int64), ()),
        extreme_rows=np.zeros((0, len(layout.codes)), np.int64),
    )


def _measured(
    model: Model, key: WholeKey, rows: Bits, ciphertexts: Sequence[Ggsw]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "trees": model.shape[0],
        "depth": model.shape[1],
        "score_bits": model.score_bits,
    }
    for name in model.trees:
        evaluator = Evaluator(model.trees[name], key.parameters)
        budget = model.budgets[name]
        runs = [_timed(model, name, evaluator, key, rows, ciphertexts, [i]) for i in range(_RUNS)]
        entry[name] = {
            "external_products": model.trees[name].products,
            "seconds": float(np.median(runs)),
            "margin_sigmas": budget.half_step / budget.sigma_program,
            "failure_log2": budget.failure_log2,
        }
    return entry


def _batch(
    model: Model, key: WholeKey, rows: Bits, ciphertexts: Sequence[Ggsw], size: int
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "trees": model.shape[0],
        "depth": model.shape[1],
        "applicants": size,
    }
    for name in model.trees:
        evaluator = Evaluator(model.trees[name], key.parameters)
        seconds = 0.0
        for first in range(0, size, len(rows)):
            own = [i % len(rows) for i in range(first, min(first + len(rows), size))]
            seconds += _timed(model, name, evaluator, key, rows, ciphertexts, own)
        entry[name] = {"seconds": seconds, "seconds_each": seconds / size}
    return entry


def _timed(
    model: Model,
    name: str,
    evaluator: Evaluator,
    key: WholeKey,
    rows: Bits,
    ciphertexts: Sequence[Ggsw],
    own: list[int],
) -> float:
    """Return the seconds to transform and evaluate the applicants with these indices."""
    own = [i % len(rows) for i in own]
    arrived = [ciphertexts[i].at(model.trees[name].bits) for i in own]
    start = time.perf_counter()
    results = evaluator.evaluate([evaluator.prepare(ciphertext) for ciphertext in arrived])
    seconds = time.perf_counter() - start
    expected = model.programs[name].scores(rows[own])
    outputs = len(model.programs[name].outputs)
    found: NDArray[np.int64] = np.stack(
        [round_to_bits(key.phase(mask, body)[:outputs], model.score_bits) for mask, body in results]
    )
    if not np.array_equal(found, expected):
        raise EvaluationFailed(
            f"{model.shape[0]} trees of depth {model.shape[1]}, {name}: opened {found.tolist()}, "
            f"but expected {expected.tolist()}."
        )
    return seconds
