"""The AUC of models trained with noise, over epsilon, for several shapes of model.

    python -m training.measure.privacy_curve [--lenders 5] [--rows 20000] [--repeats 3]

Trains on sums in clear with the noise that lenders would add, so that the trees are those of a run
with all lenders present. The epsilon is that of the smallest allowed sum. The AUC is that of fresh
rows without noise: the mean of the runs, and their standard deviation. Prints a Markdown table with
the highest mean of each epsilon in bold; the rows are others than those that the shapes were chosen
with.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, pstdev

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from features.schema import Schema
from federated.boosting.cells import cells_of
from federated.boosting.first_root import first_root
from federated.boosting.fixed_point import LEAF_BITS, Integers, Vector
from federated.boosting.grower import Grower
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree, margins
from federated.boosting.usable_bits import choose_bits
from federated.plan import Plan
from federated.privacy.accounting import multiplier_for, planned
from federated.privacy.noise import (
    Parts,
    advised_least_hessian,
    noise,
)
from federated.privacy.parameters import Privacy
from federated.privacy.step_parts import parts_of_count, parts_of_step
from settings import ROOT
from training.measure.text_tables import Table, markdown
from training.synthetic import TARGET, draw
from utils.terminal import print_any_text

EPSILONS = (16.0, 8.0, 4.0, 2.0, 1.0)
DELTA = 1e-6
TEST_ROWS = 50_000
TRAINING_SEED, TEST_SEED = 11, 12
Rows = tuple[Integers, NDArray[np.int64]]
"""States within the column (rows, columns), and outcomes with 1 for approved (rows,)."""


@dataclass(frozen=True)
class Shape:
    """The parameters of a plan that are varied.

    With `advised`, nodes have the hessian that is advised for the noise; otherwise at least 1.
    """

    trees: int
    depth: int
    learning_rate: float
    advised: bool = True

    def __str__(self) -> str:
        least = "" if self.advised else ", any node"
        return f"{self.trees} x depth {self.depth}, rate {self.learning_rate:g}{least}"

    def plan(self, schema: Schema, epsilon: float | None) -> Plan:
        """Return the plan whose whole run spends at most `epsilon`; None is without noise."""
        plan = Plan(
            schema_=schema,
            trees=self.trees,
            depth=self.depth,
            learning_rate=self.learning_rate,
        )
        if epsilon is None:
            return plan
        multiplier = multiplier_for(epsilon, DELTA, planned(self.trees, self.depth))
        privacy = Privacy(noise_multiplier=multiplier, delta=DELTA)
        least = advised_least_hessian(privacy, len(plan.layout.codes)) if self.advised else 1.0
        return plan.model_copy(update={"privacy": privacy, "min_child_weight": least})


SHAPES = (
    Shape(60, 3, 0.3, advised=False),
    Shape(60, 3, 0.3),
    Shape(60, 2, 0.3),
    Shape(30, 2, 0.6),
    Shape(20, 3, 0.3),
    Shape(10, 3, 0.6),
    Shape(10, 2, 0.6),
)


@dataclass(frozen=True)
class Trained:
    """The trees of a run, and the validation AUCs that it opened."""

    plan: Plan
    trees: tuple[Tree, ...]
    aucs: tuple[float, ...]
    columns: int
    cells: int

    def margins(self, states: Integers) -> NDArray[np.float64]:
        """Return the margins of rows with these states (rows, columns)."""
        columns = np.ascontiguousarray(states.T.astype(np.uint8))
        integers = margins(self.trees, self.plan.layout, columns)
        return np.asarray(integers * 2.0**-LEAF_BITS, np.float64)


def rows_of(plan: Plan, frame: pd.DataFrame) -> Rows:
    """Return the states and outcomes of a frame with the schema's columns and the target."""
    first = np.array([code.first_state for code in plan.layout.codes])
    states = plan.layout.states(plan.layout.encode_frame(frame)) - first
    return states, 1 - frame[TARGET].to_numpy(np.int64)


def train(plan: Plan, states: Integers, outcomes: NDArray[np.int64], lenders: int) -> Trained:
    """Train on the sums of all rows and the noise of so many lenders, if the plan has noise."""
    rows = LocalRows(plan, states, outcomes)
    counts = _noisy(rows.counts(), parts_of_count(plan, lenders), lenders)
    usable = choose_bits(plan, counts)
    cells = cells_of(plan, usable)
    rows.begin(usable)
    grower = Grower(plan, usable)
    while not grower.done:
        tree, level = grower.growing.tree, grower.growing.level
        if (tree, level) == (0, 0):
            sums = first_root(plan, cells, counts)
        else:
            parts = parts_of_step(plan, cells, grower.growing, lenders)
            sums = _noisy(rows.vector(tree, level), parts, lenders)
        splits = grower.take(tree, level, sums).splits
        if splits is not None:
            rows.apply(splits)
    return Trained(plan, grower.kept(), grower.aucs, len(cells.columns), cells.count)


def _noisy(sums: Vector, parts: Parts, lenders: int) -> Vector:
    """Return the sums with the noise of all lenders, if there are parts that get any."""
    for _ in range(lenders if parts else 0):
        sums = sums + noise(os.urandom(32), parts)
    return sums


def measured(plan: Plan, rows: Rows, test: Rows, lenders: int, repeats: int) -> list[float]:
    """Return the AUC of fresh rows, for each of the runs; one is enough without noise."""
    runs = repeats if plan.privacy is not None else 1
    trained = (train(plan, *rows, lenders) for _ in range(runs))
    return [float(roc_auc_score(test[1], model.margins(test[0]))) for model in trained]


def table(
    schema: Schema, shapes: Sequence[Shape], *, lenders: int, rows: int, repeats: int
) -> Table:
    """Train all shapes at all epsilons; `rows` are those of one lender."""
    plan = Plan(schema_=schema)
    data = rows_of(plan, draw(lenders * rows, TRAINING_SEED))
    test = rows_of(plan, draw(TEST_ROWS, TEST_SEED))
    epsilons = (None, *EPSILONS)
    figures = []
    for shape in shapes:
        started = time.perf_counter()
        aucs = [
            measured(shape.plan(schema, epsilon), data, test, lenders, repeats)
            for epsilon in epsilons
        ]
        figures.append(aucs)
        print(f"{shape}: {time.perf_counter() - started:.0f} s", flush=True)
    best = [max(map(mean, column)) for column in zip(*figures, strict=True)]
    lines = []
    for shape, aucs in zip(shapes, figures, strict=True):
        cells = [_cell(runs, mean(runs) == top) for runs, top in zip(aucs, best, strict=True)]
        lines.append((str(shape), *cells))
    head = ("trees", "no noise")
    return Table((*head, *(f"epsilon {epsilon:g}" for epsilon in EPSILONS)), lines)


def _cell(runs: list[float], best: bool) -> str:
    text = f"**{mean(runs):.4f}**" if best else f"{mean(runs):.4f}"
    return f"{text} ± {pstdev(runs):.4f}" if len(runs) > 1 else text


def main() -> None:
    """Run the command."""
    print_any_text()
    parser = CommandParser(prog="training.measure.privacy_curve", description=__doc__)
    parser.add_argument("--lenders", type=int, default=5, help="number of lenders")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of one lender")
    parser.add_argument("--repeats", type=int, default=3, help="runs whose AUC is averaged")
    given = parser.parse_args()
    schema = Schema.load(ROOT / "features" / "credit_card.json")
    print(
        markdown(
            table(schema, SHAPES, lenders=given.lenders, rows=given.rows, repeats=given.repeats)
        )
    )


if __name__ == "__main__":
    run_command(main)
