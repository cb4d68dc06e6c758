"""A lender's rows: input that is refused, restarts, and announcements that it does not follow."""

import numpy as np
import pytest

from federated.boosting.grower import Grower
from federated.boosting.pooled import Grown, pooled
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Split, Splits, Tree, level_of
from federated.boosting.usable_bits import choose_bits
from tests.federated.boosting.data import plan_of, random_rows
from utils.errors import MessageOutOfOrder, SplitsInvalid, TrainingDataInvalid

PLAN = plan_of(trees=3, least_rows=5)
STATES, OUTCOMES = random_rows(PLAN, 400, seed=1)


def begun():
    rows = LocalRows(PLAN, STATES, OUTCOMES)
    usable = choose_bits(PLAN, rows.counts())
    rows.begin(usable)
    return rows, usable


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2, -1, 0.5])
def test_outcomes_other_than_0_and_1_are_refused(bad):
    outcomes = OUTCOMES.astype(np.float64)
    LocalRows(PLAN, STATES, outcomes)
    outcomes[7] = bad
    with pytest.raises(TrainingDataInvalid, match="neither 0"):
        LocalRows(PLAN, STATES, outcomes)


@pytest.mark.parametrize("bad", [-1, 7, 200, 2**40])
def test_states_beyond_the_schema_are_refused(bad):
    states = STATES.copy()
    states[3, 0] = bad
    with pytest.raises(TrainingDataInvalid, match="Years"):
        LocalRows(PLAN, states, OUTCOMES)


@pytest.mark.parametrize(
    ("states", "outcomes"),
    [
        (STATES.astype(np.float64), OUTCOMES),
        (np.where(STATES == 0, np.nan, STATES), OUTCOMES),
        (STATES[:, :-1], OUTCOMES),
        (STATES[:0], OUTCOMES[:0]),
        (STATES, OUTCOMES[:-1]),
        (STATES, OUTCOMES.astype(str)),
        (STATES.tolist()[0], OUTCOMES),
    ],
)
def test_tables_of_another_shape_or_kind_are_refused(states, outcomes):
    with pytest.raises(TrainingDataInvalid):
        LocalRows(PLAN, states, outcomes)


def test_rows_from_bits_are_those_from_states():
    first = np.array([code.first_state for code in PLAN.layout.codes])
    bits = PLAN.layout.bits_of_states(STATES + first)
    same = LocalRows.from_bits(PLAN, bits, OUTCOMES)
    assert (same.counts() == LocalRows(PLAN, STATES, OUTCOMES).counts()).all()


def test_validation_rows_follow_the_content_the_seed_and_the_share():
    rows = LocalRows(PLAN, STATES, OUTCOMES)
    order = np.random.default_rng(0).permutation(len(OUTCOMES))
    shuffled = LocalRows(PLAN, STATES[order], OUTCOMES[order])
    assert (rows.counts() == shuffled.counts()).all()
    assert 50 < rows.n_validation < 110 and rows.n_training + rows.n_validation == 400
    assert rows.counts()[-2:].sum() == rows.n_validation
    other = LocalRows(PLAN.model_copy(update={"seed": 1}), STATES, OUTCOMES)
    assert (rows.counts() != other.counts()).any()
    none = LocalRows(PLAN.model_copy(update={"validation_share": 0.0}), STATES, OUTCOMES)
    assert none.n_validation == 0


def test_validation_rows_never_enter_a_histogram():
    """The histogram of the training rows alone has the same bits."""
    rows, usable = begun()
    bare = PLAN.model_copy(update={"validation_share": 0.0})
    kept = np.array(
        [LocalRows(PLAN, STATES[[i]], OUTCOMES[[i]]).n_training == 1 for i in range(400)]
    )
    alone = LocalRows(bare, STATES[kept], OUTCOMES[kept])
    alone.begin(usable)
    assert (rows.vector(0, 0) == alone.vector(0, 0)).all()


def test_restart_gives_the_same_bytes_at_every_step():
    rows, usable = begun()
    grower = Grower(PLAN, usable)
    while not grower.done:
        tree, level = grower.growing.tree, grower.growing.level
        if level == 0:
            announced = []
        again = LocalRows(PLAN, STATES, OUTCOMES)
        again.begin(usable)
        again.restore(grower.trees, announced)
        vector = rows.vector(tree, level)
        assert vector.tobytes() == again.vector(tree, level).tobytes()
        assert len(vector) == grower.length() == rows.length()
        result = grower.take(tree, level, vector)
        if result.splits is not None:
            announced.append(Splits.model_validate_json(result.splits.model_dump_json()))
            rows.apply(announced[-1])
    assert rows.trees == grower.trees and len(grower.aucs) == 3


def test_coordinator_restarts_from_trees_and_opened_sums():
    rows, usable = begun()
    first = Grower(PLAN, usable)
    opened = []
    for tree, level in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        opened.append(rows.vector(tree, level))
        rows.apply(first.take(tree, level, opened[-1]).splits)
    second = Grower(PLAN, usable, first.trees, first.aucs[:0])
    for level in (0, 1):
        second.take(1, level, opened[3 + level])
    last = rows.vector(1, 2)
    assert first.take(1, 2, last) == second.take(1, 2, last)
    assert first.aucs == second.aucs and first.trees == second.trees


def test_steps_out_of_order_are_refused():
    fresh = LocalRows(PLAN, STATES, OUTCOMES)
    with pytest.raises(MessageOutOfOrder):
        fresh.vector(0, 0)
    rows, usable = begun()
    grower = Grower(PLAN, usable)
    for wrong in ((0, 1), (1, 0)):
        with pytest.raises(MessageOutOfOrder):
            rows.vector(*wrong)
        with pytest.raises(MessageOutOfOrder):
            grower.take(*wrong, rows.vector(0, 0))
    for side in (rows, grower):
        with pytest.raises(MessageOutOfOrder):
            side.cut()


def announced(rows, **changes):
    """Return honest splits of the next level, with changes to the first split or to the level."""
    grower = Grower(PLAN, choose_bits(PLAN, rows.counts()), rows.trees)
    splits = grower.take(0, 0, rows.vector(0, 0)).splits
    split = splits.splits[0].model_dump()
    own = {name: changes.pop(name) for name in list(changes) if name in split}
    return splits.model_copy(update={"splits": (Split(**split | own),), **changes})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"node": 1}, SplitsInvalid),
        ({"bit": 5000}, SplitsInvalid),
        ({"tree": 1}, MessageOutOfOrder),
        ({"level": 1}, MessageOutOfOrder),
        ({"bit": 0, "left": 5, "right": 4}, SplitsInvalid),  # against the monotone constraint
    ],
)
def test_lender_refuses_splits_that_do_not_fit(changes, error):
    rows, _ = begun()
    before = rows.vector(0, 0)
    with pytest.raises(error):
        rows.apply(announced(rows, **changes))
    assert (rows.vector(0, 0) == before).all()
    rows.apply(announced(rows))


def test_lender_refuses_a_bit_of_merged_states():
    """A split inside a merged group would name fewer than k rows."""
    states = STATES.copy()
    states[:, 1] = np.minimum(states[:, 1], 2)
    states[:3, 1] = 3
    rows = LocalRows(PLAN, states, OUTCOMES)
    usable = choose_bits(PLAN, rows.counts())
    code = PLAN.layout.code("Debt")
    bit = code.first_bit + code.n_bits - 1
    assert bit not in usable.bits
    rows.begin(usable)
    with pytest.raises(SplitsInvalid, match="not usable"):
        rows.apply(
            Splits(tree=0, level=0, root=0, splits=(Split(node=0, bit=bit, left=0, right=0),))
        )


def test_lender_refuses_a_repeated_bit_a_changed_root_and_a_wrong_order():
    rows, _ = begun()
    first = announced(rows)
    rows.apply(first)
    left, right = (
        Split(node=node, bit=first.splits[0].bit + 1, left=0, right=0) for node in (1, 2)
    )
    repeated = left.model_copy(update={"bit": first.splits[0].bit})
    for splits, root in (
        ((repeated,), first.root),
        ((), first.root + 1),
        ((right, left), first.root),
    ):
        with pytest.raises(SplitsInvalid):
            rows.apply(Splits(tree=0, level=1, root=root, splits=splits))
    rows.apply(Splits(tree=0, level=1, root=first.root, splits=(left,)))
    # The right child was not split on its level, so that it is a leaf.
    late = Splits(tree=0, level=2, root=first.root, splits=(right,))
    with pytest.raises(SplitsInvalid, match="node 2 is not open"):
        rows.apply(late)


@pytest.mark.parametrize("value", [16 << 20, -(16 << 20), 1.5, float("nan"), True, "1"])
def test_values_beyond_exact_leaves_are_no_split(value):
    Split(node=0, bit=0, left=0, right=(16 << 20) - 1)
    with pytest.raises(ValueError, match="right"):
        Split(node=0, bit=0, left=0, right=value)


def test_trees_that_do_not_fit_the_plan_are_not_added():
    rows, _ = begun()
    path = [Split(node=n, bit=b, left=0, right=0) for n, b in ((0, 5), (1, 8), (3, 10), (7, 12))]
    with pytest.raises(SplitsInvalid, match="deeper than 3"):
        rows.add(Tree(root=0, splits=tuple(path)))
    for wrong in (path[1:], path[::-1], [path[0], path[0]]):
        with pytest.raises(ValueError, match=r"node|listed"):
            Tree(root=0, splits=tuple(wrong))
    good = Tree(root=0, splits=tuple(path[:3]))
    for number in range(PLAN.trees):
        assert rows.growing.tree == number
        rows.add(good)
    with pytest.raises(MessageOutOfOrder, match="3 trees"):
        rows.add(good)
    with pytest.raises(SplitsInvalid, match="3 trees"):
        rows.apply(Splits(tree=PLAN.trees, level=0, root=0))


def test_a_lender_that_was_away_goes_on_with_the_others():
    """It missed most of a tree; with the finished tree, its next vector is right."""
    states, outcomes = random_rows(PLAN, 400, seed=2)
    here, usable = begun()
    tree = pooled(PLAN, {"here": here}, [Grown(("here",), 3)], usable).trees[0]
    away, never_away = (LocalRows(PLAN, states, outcomes) for _ in range(2))
    for rows in (away, never_away):
        rows.begin(usable)
    other = next(bit for bit in usable.bits if bit != tree.splits[0].bit and bit > 5)
    away.apply(announced(begun()[0], bit=other))
    away.add(tree)
    for level in range(3):
        splits = tuple(s for s in tree.splits if level_of(s.node) == level)
        never_away.apply(Splits(tree=0, level=level, root=tree.root, splits=splits))
    assert away.trees == never_away.trees == (tree,)
    assert (away.vector(1, 0) == never_away.vector(1, 0)).all()
