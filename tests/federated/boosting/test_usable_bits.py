"""No cell of a histogram stands for fewer than k rows, for any schema and any counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.boosting.cells import cells_of
from federated.boosting.counts import counts_length
from federated.boosting.usable_bits import UsableBits, choose_bits, usable_of_column
from federated.plan import Plan, Privacy
from tests.federated.boosting.data import plan_of
from tests.strategies import QUICK, layouts
from utils.errors import HistogramInvalid, SplitsInvalid, TrainingDataInvalid


@given(st.data(), layouts(bins=6), st.integers(1, 12))
@QUICK
def test_sides_and_groups_have_enough_rows(data, layout, least):
    for code in layout.codes:
        size = st.lists(st.integers(0, 30), min_size=code.n_states, max_size=code.n_states)
        counts = np.array(data.draw(size), np.int64)
        bits = usable_of_column(code, counts, least)
        assert bits == sorted(set(bits))
        groups: dict[tuple, int] = {}
        for state, rows in enumerate(counts.tolist()):
            pattern = tuple(code.table[state, bits].tolist())
            groups[pattern] = groups.get(pattern, 0) + rows
        assert all(rows == 0 or rows >= least for rows in groups.values()) or not bits
        for bit in bits:
            ones = int(counts[code.table[:, bit] == 1].sum())
            assert least <= ones <= counts.sum() - least


def code_of(plan, name):
    return plan.layout.code(name)


@pytest.mark.parametrize(
    ("column", "counts", "bits"),
    [
        # Years: five cuts, then `is missing`.
        ("Years", [10, 10, 10, 10, 10, 10, 10], [0, 1, 2, 3, 4, 5]),
        ("Years", [4, 6, 20, 9, 9, 1, 0], [1, 2]),  # cuts from the lowest; the last bins merged
        ("Years", [4, 20, 20, 20, 20, 20, 6], [0, 1, 2, 3, 4]),  # missing with the lowest bin
        ("Years", [3, 0, 0, 0, 0, 0, 50], []),  # without them, `is missing` names 3 rows
        # Owner: false, true, missing.
        ("Owner", [3, 20, 20], [1]),
        ("Owner", [0, 20, 20], [1]),
        ("Owner", [20, 3, 4], []),
        # Work: the rest takes the smallest other category until it has 10 rows.
        ("Work", [30, 4, 12, 20], [0, 3]),
        ("Work", [30, 0, 12, 20], [0, 2, 3]),
        ("Work", [30, 0, 0, 0], []),
        ("Town", [9, 30], []),
        ("Town", [10, 30], [0, 1]),
    ],
)
def test_bits_of_typical_columns(column, counts, bits):
    plan = plan_of()
    assert usable_of_column(code_of(plan, column), np.array(counts), 10) == bits


def counts_of(plan, rows):
    """Return counts of `rows` denied rows in each column's first two states."""
    counts = np.zeros(counts_length(plan), np.uint64)
    for code in plan.layout.codes:
        counts[code.first_state : code.first_state + 2] = (rows // 2, rows - rows // 2)
    return counts


def test_merged_states_share_a_cell():
    plan = plan_of()
    usable = choose_bits(plan, counts_of(plan, 100))
    cells = cells_of(plan, usable)
    assert usable.rows == 100
    assert cells.sizes == [2, 2, 2, 3, 2, 2]  # Work has two bits, and a rest without rows
    assert cells.of_states[0].tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_inconsistent_counts_are_refused():
    plan = plan_of()
    honest = counts_of(plan, 100)
    choose_bits(plan, honest)
    lost, overflow, negative, flipped = (honest.copy() for _ in range(4))
    lost[0] -= 1
    flipped[0] -= 1  # an outcome that one column alone has otherwise
    flipped[plan.layout.n_states] += 1
    overflow[:2] = 1 << 63
    negative[0], negative[1] = np.uint64(2**64 - 10), 110
    for wrong in (lost, flipped, overflow, negative, honest[:-1], honest.astype(np.float64)):
        with pytest.raises(HistogramInvalid):
            choose_bits(plan, wrong)


def test_noise_on_counts_is_allowed_only_by_the_plan():
    private = Plan(schema=plan_of().schema_, privacy=Privacy(noise_multiplier=1, delta=1e-6))
    noisy = counts_of(private, 100)
    noisy[0] += 3
    noisy[4] = np.uint64(2**64 - 2)
    assert choose_bits(private, noisy).bits[0] == 0
    with pytest.raises(HistogramInvalid):
        choose_bits(plan_of(), noisy)


def test_too_few_rows_are_refused():
    with pytest.raises(TrainingDataInvalid, match="lower least_rows"):
        choose_bits(plan_of(), counts_of(plan_of(), 19))


def test_announced_bits_must_rise_and_exist():
    plan = plan_of()
    with pytest.raises(ValueError, match="rise strictly"):
        UsableBits(bits=(3, 3), rows=10)
    with pytest.raises(SplitsInvalid):
        cells_of(plan, UsableBits(bits=(plan.layout.n_bits,), rows=10))
