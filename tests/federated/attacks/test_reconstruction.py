"""Rebuilding other lenders' rows from all that a participant sees of a whole training.

Three lenders have 100 loans each, few on purpose: the fewer rows, the more a sum says about one.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.federated.attacks.leaves import of_bagging, of_training
from tests.federated.attacks.naming import named
from tests.federated.attacks.peeling import Peeling
from tests.federated.attacks.views import (
    loans,
    opened_by,
    plan_of,
    points_of,
    seen_of,
    together,
)

PLAN = plan_of()
EVERYONE = plan_of(validation_share=0.0)
"""All rows are trained on, so that everyone on the list is or is not."""
VICTIM, SPY = "lender_0", "lender_1"
LAST_TREES = tuple(range(50, 60))
TREES = 60
"""Trees whose leaves are read."""
NOBODY = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def data():
    return loans(3, 100)


@pytest.fixture(scope="module")
def view(data):
    return opened_by(PLAN, data)


@pytest.fixture(scope="module")
def model(data):
    return opened_by(EVERYONE, data)


@pytest.fixture(scope="module")
def strangers():
    """200 people of each lender's region who have no loan of any lender."""
    return {name: states for name, (states, _) in loans(3, 200, seed=77).items()}


def share_named(found, first, count):
    """Return the share of people in the list who were named and are among these positions."""
    return len(found & set(range(first, first + count))) / count


# --- The published model, and a lender's view ---


def test_published_trees_name_few_more_people_than_chance(model, data, strangers):
    rows, _ = together(data)
    people = np.concatenate([rows, *strangers.values()])
    chance = len(rows) / len(people)
    found = named(of_training(model, people, TREES), 1.0, len(rows), NOBODY)
    assert share_named(found, 0, len(rows)) < chance + 0.25

    # Control: XGBoost's own file of the same rows, with the covers of all nodes.
    covered = of_bagging(model, {"all": together(data)}, "all", people, TREES)
    found = named(covered, 1.0, len(rows), NOBODY)
    assert share_named(found, 0, len(rows)) > 0.9


def test_a_lender_names_few_more_people_than_chance(model, data, strangers):
    """A lender sees the splits and leaves of all trees; it subtracts its own rows."""
    rows, outcomes = data[SPY]
    victims, _ = together({name: one for name, one in data.items() if name != SPY})
    others = [strangers[name] for name in data if name != SPY]
    people = np.concatenate([rows, victims, *others])
    chance = len(victims) / (len(people) - len(rows))
    found = named(of_training(model, people, TREES), 1.0, len(victims), outcomes)
    assert share_named(found, len(rows), len(victims)) < chance + 0.25

    # Control: in Flower's bagging, it sees the whole trees of another lender, with covers.
    victims, _ = data[VICTIM]
    people = np.concatenate([victims, strangers[VICTIM]])
    found = named(of_bagging(model, data, VICTIM, people, TREES), 1.0, len(victims), NOBODY)
    assert share_named(found, 0, len(victims)) > 0.9


# --- The coordinator's view ---


def rebuilt(view, data, trees=LAST_TREES):
    """Return the rows that were rebuilt in all columns and outcome, the wrong ones, and all."""
    found = Peeling(view, trees, most_rows=1).run()
    truth = points_of(view, data)
    return (found & truth).total(), (found - truth).total(), truth.total()


def test_limit_a_coordinator_rebuilds_rows_from_the_sums_of_few(view, data):
    """It does not see whose they are. With the last 30 trees instead of 10, nearly all are rebuilt.

    The sums of three lenders hide more than those of one, in as many trees.
    """
    right, wrong, rows = rebuilt(view, together(data))
    assert wrong == 0
    assert 0 < right < 0.5 * rows

    # Control: a coordinator that sees a lender's own histograms rebuilds all of its rows.
    right, wrong, rows = rebuilt(seen_of(view, data[VICTIM]), data[VICTIM])
    assert (right, wrong) == (rows, 0)


def test_larger_groups_leave_no_cell_of_one_row(data):
    plan = plan_of(least_rows=30)
    right, wrong, _ = rebuilt(opened_by(plan, data), together(data))
    assert right == wrong == 0


def test_sums_of_many_rows_hide_nearly_all():
    data = loans(5, 1000)
    view = opened_by(PLAN, data)
    right, wrong, rows = rebuilt(view, together(data), (59,))
    assert wrong == 0
    assert right < 0.01 * rows
