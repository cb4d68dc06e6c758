"""The figures of the attacks in docs/FEDERATED.md: python -m tests.federated.attacks.measure."""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import time

import numpy as np

from federated.boosting.fixed_point import real
from tests.federated.attacks.leaves import of_bagging, of_training
from tests.federated.attacks.naming import named
from tests.federated.attacks.peeling import Peeling
from tests.federated.attacks.test_changed_rosters import error_of, predicted, root
from tests.federated.attacks.views import (
    loans,
    merged,
    opened_by,
    plan_of,
    points_of,
    seen_of,
    together,
)

LAST_10, LAST_30, ALL = range(50, 60), range(30, 60), range(60)


def rebuilding(lenders, rows, trees, one=False, **parameters) -> None:
    """Print the rows that a coordinator rebuilds, of all lenders or from one's histograms."""
    began = time.process_time()
    data = loans(lenders, rows)
    view = opened_by(plan_of(**parameters), data)
    if one:
        view, data = seen_of(view, data["lender_0"]), {"lender_0": data["lender_0"]}
    found = Peeling(view, tuple(trees), most_rows=1).run()
    truth = points_of(view, together(data))
    cells, _ = merged(view, together(data))
    guess = float(np.mean([np.bincount(column).max() / len(column) for column in cells.T]))
    whole = (found & truth).total() / truth.total()
    print(
        f"{lenders} x {rows}, {len(trees)} trees{', one lender' * one} {parameters or ''}: "
        f"{(found & truth).total()} of {truth.total()} rows, {(found - truth).total()} wrong; "
        f"values right {whole + (1 - whole) * guess:.3f}, guessing {guess:.3f}; "
        f"{time.process_time() - began:.0f} s",
        flush=True,
    )


def naming(lenders, rows, strangers) -> None:
    """Print the people named from leaves, with covers and without."""
    plan = plan_of(validation_share=0.0)
    data = loans(lenders, rows)
    view = opened_by(plan, data)
    others = loans(lenders, strangers // lenders, seed=77)
    spy = "lender_1"
    rest = [name for name in data if name != spy]
    everyone = together(data)[0]
    none = np.zeros(0, np.int64)

    def show(text, names, leaves_of, own=none, before=everyone[:0]) -> None:
        targets, strange = (together({n: each[n] for n in names})[0] for each in (data, others))
        people = np.concatenate([before, targets, strange])
        found = named(leaves_of(people), 1.0, len(targets), own)
        span = set(range(len(before), len(before) + len(targets)))
        chance = len(targets) / (len(targets) + len(strange))
        share = len(found & span) / len(targets)
        print(f"{lenders} x {rows}, {text}: {share:.2f}, chance {chance:.2f}", flush=True)

    show("published", data, lambda people: of_training(view, people, 60))
    all_rows = {"all": together(data)}
    show("with covers", data, lambda people: of_bagging(view, all_rows, "all", people, 60))
    own = data[spy]
    show("lender", rest, lambda people: of_training(view, people, 60), own[1], own[0])
    show("bagging", ["lender_0"], lambda people: of_bagging(view, data, "lender_0", people, 60))


def leaving(lenders, rows) -> None:
    """Print the error of a lost lender's histogram, predicted and by shares of the others'."""
    data = loans(lenders, rows)
    view = opened_by(plan_of(), data)
    own = seen_of(view, data["lender_0"])
    for tree in (0, 1, 10, 58):
        truth, total = real(root(own, tree + 1)), real(root(view, tree + 1))
        guess = predicted(view, tree) - (total - truth)
        share = (total - truth) / (lenders - 1)
        errors = [f"{error_of(guess[i], truth[i]):.2f}/{error_of(share[i], truth[i]):.2f}"
                  for i in (0, 1)]  # fmt: skip
        print(f"{lenders} x {rows}, after tree {tree}: gradients, hessians {errors}", flush=True)


def main() -> None:
    prog = "python -m tests.federated.attacks.measure"
    CommandParser(prog=prog, description=__doc__).parse_args()
    """Print all figures; takes some minutes."""
    for size in ((3, 100), (5, 5000)):
        leaving(*size)
    naming(3, 100, 600)  # with more people than equations, nobody is named even from covers
    rebuilding(3, 100, LAST_10, one=True)
    rebuilding(3, 100, LAST_10)
    rebuilding(3, 100, LAST_10, least_rows=20)
    rebuilding(3, 100, LAST_30, least_rows=30)
    rebuilding(3, 1000, LAST_10)
    rebuilding(5, 5000, LAST_10)
    rebuilding(5, 5000, LAST_10[-3:], one=True)
    rebuilding(3, 300, LAST_10)
    rebuilding(3, 100, LAST_30)


if __name__ == "__main__":
    run_command(main)
