"""Results equal references written another way, and none is about too few rows."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.computations import (
    MOST_BYTES,
    as_json,
    computation_of,
    differs_by_few,
    digest,
    fields_of,
    in_words,
    read_computation,
    run,
    validate,
)
from governance.datasets import make_data_set
from utils.errors import ComputationInvalid, ComputationTooNarrow

KINDS = {
    "who": "text",
    "age": "integer",
    "income": "number",
    "member": "boolean",
    "day": "date",
    "region": "category",
}
CENTS = st.integers(-(10**8), 10**8).map(lambda n: n / 100)
ROW = st.fixed_dictionaries(
    {
        "who": st.none() | st.text(max_size=3),
        "age": st.none() | st.integers(-100, 100),
        "income": st.none() | CENTS,
        "member": st.none() | st.booleans(),
        "day": st.none()
        | st.sampled_from(["2026-12-31", "2027-01-01", "2027-01-31", "2027-02-01"]),
        "region": st.none() | st.sampled_from(["N", "S"]),
    }
)
ROWS = st.lists(ROW, min_size=1, max_size=40)
FILTER = st.one_of(
    st.builds(
        lambda op, value: {"column": "age", "op": op, "value": value},
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        st.integers(-100, 100),
    ),
    st.builds(
        lambda low, high: {"column": "income", "op": "between", "value": [low, high]},
        CENTS,
        CENTS,
    ),
    st.builds(
        lambda op, value: {"column": "day", "op": op, "value": value},
        st.sampled_from(["<", ">=", "=="]),
        st.sampled_from(["2027-01-01", "2027-01-15"]),
    ),
    st.builds(
        lambda op, column: {"column": column, "op": op},
        st.sampled_from(["is missing", "is not missing"]),
        st.sampled_from([*KINDS]),
    ),
    st.just({"column": "region", "op": "in", "value": ["N", "X"]}),
    st.just({"column": "member", "op": "==", "value": True}),
)


def data(rows):
    return make_data_set("t", "w", KINDS, rows)


def rows_of(count, **values):
    full = {"who": "w", "age": 1, "income": 1.0, "member": True, "day": "2027-01-01", "region": "N"}
    return [{**full, **values} for _ in range(count)]


def computation(kind, **members):
    return computation_of({"kind": kind, **members})


def accepted(row, each) -> bool:
    """The reference of a filter, by its text alone."""
    value, op, wanted = row[each["column"]], each["op"], each.get("value")
    if op.startswith("is"):
        return (value is None) == (op == "is missing")
    if value is None:
        return False
    if op == "between":
        return not (value < wanted[0] or value > wanted[1])
    if op == "in":
        return any(value == each for each in wanted)
    order = (value > wanted) - (value < wanted)
    return (
        order in {"==": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}[op]
    )


REFERENCES = {
    "sum": np.sum,
    "mean": np.mean,
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "standard_deviation": lambda values: np.std(values, ddof=1),
}


@given(
    ROWS,
    st.lists(FILTER, max_size=3),
    st.sampled_from([*REFERENCES]),
    st.sampled_from(["age", "income"]),
    st.integers(2, 6),
)
@settings(deadline=None, max_examples=150)
def test_column_statistic_equals_numpy_or_is_refused(rows, filters, kind, column, least) -> None:
    kept = [row for row in rows if all(accepted(row, each) for each in filters)]
    values = [row[column] for row in kept if row[column] is not None]
    left_out = len(rows) - len(kept)
    asked = computation(kind, column=column, filters=filters)
    if len(values) < least or 0 < left_out < least:
        with pytest.raises(ComputationTooNarrow):
            run(asked, data(rows), least)
        return
    found = run(asked, data(rows), least).value
    assert found == pytest.approx(float(REFERENCES[kind](values)), rel=1e-9, abs=1e-6)


@given(
    ROWS,
    st.integers(1, 999).map(lambda n: n / 1000),
    CENTS,
    st.integers(2, 4),
)
@settings(deadline=None, max_examples=80)
def test_quantile_share_and_count(rows, q, threshold, least) -> None:
    rows = rows * 3
    values = [row["income"] for row in rows if row["income"] is not None]
    if len(values) < least:
        return
    found = run(computation("quantile", column="income", q=q), data(rows), least).value
    assert found == pytest.approx(float(np.quantile(values, q)), rel=1e-9, abs=1e-6)
    above = int((np.array(values) > threshold).sum())
    asked = computation("share_above", column="income", threshold=threshold)
    if 0 < above < least or 0 < len(values) - above < least:
        with pytest.raises(ComputationTooNarrow):
            run(asked, data(rows), least)
    else:
        assert run(asked, data(rows), least).value == pytest.approx(above / len(values))
    if len(rows) >= least:
        assert run(computation("count"), data(rows), least).value == len(rows)


@given(ROWS, st.integers(2, 4), st.sampled_from(["region", "member"]))
@settings(deadline=None, max_examples=80)
def test_share_per_category_equals_counter(rows, least, column) -> None:
    counts = Counter(row[column] for row in rows if row[column] is not None)
    asked = computation("share_per_category", column=column)
    if not counts or min(counts.values()) < least:
        with pytest.raises(ComputationTooNarrow):
            run(asked, data(rows), least)
        return
    found = {group.name: group.value for group in run(asked, data(rows), least).groups}
    total = sum(counts.values())
    assert found == {str(name).lower() if column == "member" else name: pytest.approx(n / total)
                     for name, n in counts.items()}  # fmt: skip


@given(ROWS, st.integers(2, 4), st.sampled_from(["count", "sum", "mean"]))
@settings(deadline=None, max_examples=80)
def test_trend_per_month_equals_a_dictionary(rows, least, of) -> None:
    months = defaultdict(list)
    for row in rows:
        if row["day"] is not None and (of == "count" or row["age"] is not None):
            months[row["day"][:7]].append(row["age"])
    column = {} if of == "count" else {"column": "age"}
    asked = computation("trend_per_month", date_column="day", of=of, **column)
    if not months or min(map(len, months.values())) < least:
        with pytest.raises(ComputationTooNarrow):
            run(asked, data(rows), least)
        return
    reference = {"count": len, "sum": np.sum, "mean": np.mean}[of]
    found = run(asked, data(rows), least).groups
    assert [group.name for group in found] == sorted(months)
    assert {g.name: g.value for g in found} == {
        m: pytest.approx(float(reference(v))) for m, v in months.items()
    }


@given(ROWS, st.lists(FILTER, max_size=2), st.integers(2, 8))
@settings(deadline=None, max_examples=80)
def test_least_count_alone_decides_and_the_error_does_not_count(rows, filters, least) -> None:
    kept = sum(all(accepted(row, each) for each in filters) for row in rows)
    asked = computation("count", filters=filters)
    fits = kept >= least and (kept == len(rows) or len(rows) - kept >= least)
    if fits:
        assert run(asked, data(rows), least).value == kept
    else:
        with pytest.raises(ComputationTooNarrow) as caught:
            run(asked, data(rows), least)
        assert str(least) in caught.value.message
        numbers = [int(w) for w in caught.value.message.replace(".", " ").split() if w.isdigit()]
        assert numbers == [least]


def test_one_row_is_never_singled_out() -> None:
    """The attack: filters that leave one row, or leave out one row, whose value then follows."""
    rows = [*rows_of(20), *rows_of(1, age=99, income=777.0, region="S", day="2027-02-01")]
    for kind in REFERENCES:
        for filters in (
            [{"column": "region", "op": "==", "value": "S"}],
            [{"column": "age", "op": ">", "value": 50}],
            [{"column": "day", "op": ">=", "value": "2027-02-01"}],
            [{"column": "region", "op": "==", "value": "N"}],
            [{"column": "age", "op": "!=", "value": 99}],
        ):
            with pytest.raises(ComputationTooNarrow):
                run(computation(kind, column="income", filters=filters), data(rows), 5)
    for asked in (
        computation("share_per_category", column="region"),
        computation("trend_per_month", date_column="day", of="sum", column="income"),
        computation("share_above", column="income", threshold=100),
        computation("share_above", column="income", threshold="0.5",
                    filters=[{"column": "region", "op": "==", "value": "S"}]),
        computation("quantile", column="income", q="0.99",
                    filters=[{"column": "region", "op": "==", "value": "S"}]),
    ):  # fmt: skip
        with pytest.raises(ComputationTooNarrow):
            run(asked, data(rows), 5)
    # The control: with five such rows all of them are computed.
    more = [*rows_of(20), *rows_of(5, age=99, income=777.0, region="S", day="2027-02-01")]
    few = [{"column": "region", "op": "==", "value": "S"}]
    assert run(computation("mean", column="income", filters=few), data(more), 5).value == 777.0


def test_values_that_are_missing_do_not_count_as_rows() -> None:
    rows = [*rows_of(10, income=None), *rows_of(1, income=777.0)]
    with pytest.raises(ComputationTooNarrow):
        run(computation("mean", column="income"), data(rows), 5)
    with pytest.raises(ComputationTooNarrow):
        run(computation("mean", column="income"), data(rows_of(10, income=None)), 5)


def test_differencing_of_two_requests_is_found() -> None:
    rows = [*rows_of(20), *rows_of(1, age=99, income=777.0), *rows_of(20, age=60)]
    below = lambda age: computation(  # noqa: E731
        "sum", column="income", filters=[{"column": "age", "op": "<", "value": age}]
    )
    found = data(rows)
    # The attack works: both are allowed, and their difference is the one row's income.
    wide = computation("sum", column="income",
                       filters=[{"column": "age", "op": "in", "value": [1, 99]}])  # fmt: skip
    assert run(wide, found, 5).value - run(below(50), found, 5).value == 777.0
    assert differs_by_few([below(50)], wide, found, 5)
    assert differs_by_few([below(99), wide], below(50), found, 5)
    assert not differs_by_few([below(50)], below(50), found, 5)
    assert not differs_by_few([below(50)], below(70), found, 5)
    assert not differs_by_few([], wide, found, 5)
    # Per group as well: one month differs by one row, though all rows differ by many.
    trend = lambda **more: computation(  # noqa: E731
        "trend_per_month", date_column="day", of="sum", column="income", **more
    )
    months = data([*rows_of(10), *rows_of(1, age=99), *rows_of(9, day="2027-02-01"),
                   *rows_of(9, day="2027-02-01", age=99)])  # fmt: skip
    young = [{"column": "age", "op": "<", "value": 50}]
    assert differs_by_few([trend()], trend(filters=young), months, 5)


def test_differencing_of_a_group_and_a_filter_or_a_threshold_is_found() -> None:
    found = data([*rows_of(10), *rows_of(1, age=99, income=777.0), *rows_of(20, day="2027-02-01")])
    january = {"column": "day", "op": "<", "value": "2027-02-01"}
    young = {"column": "age", "op": "<", "value": 99}
    months = computation("trend_per_month", date_column="day", of="sum", column="income")
    one_month = lambda *more: computation(  # noqa: E731
        "sum", column="income", filters=[january, *more]
    )
    above = lambda age: computation("share_above", column="income", threshold=age)  # noqa: E731
    many = data([*rows_of(10), *rows_of(1, income=500.0), *rows_of(10, income=777.0)])
    # The attacks work: the difference is the income of one row, or says that one row is between.
    total = {group.name: group.value for group in run(months, found, 5).groups}["2027-01"]
    assert total - run(one_month(young), found, 5).value == 777.0
    low, high = (run(above(bound), many, 5).value for bound in (499, 500))
    assert round((low - high) * 21) == 1
    for one, other, rows in (
        (months, one_month(young), found),
        (above(499), above(500), many),
        (above(500), computation("count", filters=[
            {"column": "income", "op": ">=", "value": 500}]), many),
    ):  # fmt: skip
        assert differs_by_few([one], other, rows, 5)
        assert differs_by_few([other], one, rows, 5)
    # The control: the same rows, and a group that is far from the others.
    assert not differs_by_few([months], one_month(), found, 5)
    assert not differs_by_few([above(500)], above(501), many, 5)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"kind": "mean", "column": "absent"}, "no column 'absent'. Its columns are who, age"),
        ({"kind": "mean", "column": "who"}, "who has the type text, but mean needs integer or nu"),
        ({"kind": "mean", "column": "day"}, "type date"),
        ({"kind": "median", "column": "member"}, "Columns that fit: age, income"),
        ({"kind": "quantile", "column": "region", "q": 0.5}, "type category"),
        ({"kind": "share_above", "column": "who", "threshold": 1}, "type text"),
        ({"kind": "share_per_category", "column": "income"}, "category or boolean"),
        ({"kind": "share_per_category", "column": "who"}, "category or boolean"),
        ({"kind": "trend_per_month", "date_column": "age", "of": "count"}, "needs date"),
        ({"kind": "trend_per_month", "date_column": "day", "of": "sum", "column": "who"}, "text"),
        ({"kind": "count", "filters": [{"column": "x", "op": "==", "value": 1}]}, "no column 'x'"),
        ({"kind": "count", "filters": [{"column": "who", "op": "==", "value": "A"}]}, "type text"),
        ({"kind": "count", "filters": [{"column": "region", "op": "<", "value": "A"}]}, "filter <"),
        ({"kind": "count", "filters": [{"column": "age", "op": "==", "value": "A"}]}, "another ty"),
        ({"kind": "count", "filters": [{"column": "age", "op": "==", "value": True}]}, "another t"),
        ({"kind": "count", "filters": [{"column": "member", "op": "==", "value": 1}]}, "another"),
        ({"kind": "count", "filters": [{"column": "region", "op": "in", "value": ["N", 1]}]},
         "another type"),
        ({"kind": "count", "filters": [{"column": "day", "op": "<", "value": "2027-02-30"}]},
         "another type"),
        ({"kind": "count", "filters": [{"column": "age", "op": "==", "value": "9" * 17}]}, "anot"),
    ],
)  # fmt: skip
def test_computation_that_does_not_fit_names_column_and_types(members, words) -> None:
    found = data(rows_of(20))
    asked = computation_of(members)
    with pytest.raises(ComputationInvalid) as caught:
        validate(asked, found.description)
    assert words in caught.value.message
    with pytest.raises(ComputationInvalid):
        run(asked, found, 5)
    with pytest.raises(ComputationInvalid):
        differs_by_few([], asked, found, 5)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"kind": "exec", "code": "import os"},
        {"kind": "count", "code": "1"},
        {"kind": "mean"},
        {"kind": "mean", "column": "a\nb"},
        {"kind": "quantile", "column": "a", "q": 0},
        {"kind": "quantile", "column": "a", "q": 1},
        {"kind": "quantile", "column": "a", "q": "half"},
        {"kind": "quantile", "column": "a", "q": float("nan")},
        {"kind": "share_above", "column": "a", "threshold": 1e300},
        {"kind": "share_above", "column": "a", "threshold": True},
        {"kind": "trend_per_month", "date_column": "a", "of": "sum"},
        {"kind": "trend_per_month", "date_column": "a", "of": "count", "column": "b"},
        {"kind": "count", "filters": [{"column": "a", "op": "==", "value": None}]},
        {"kind": "count", "filters": [{"column": "a", "op": "==", "value": {"a": 1}}]},
        {"kind": "count", "filters": [{"column": "a", "op": "matches", "value": ".*"}]},
        {"kind": "count", "filters": [{"column": "a", "op": "between", "value": [1]}]},
        {"kind": "count", "filters": [{"column": "a", "op": "in", "value": []}]},
        {"kind": "count", "filters": [{"column": "a", "op": "in", "value": [1] * 51}]},
        {"kind": "count", "filters": [{"column": "a", "op": "is missing", "value": 1}]},
        {"kind": "count", "filters": [{"column": "a", "op": "is missing"}] * 9},
        {"kind": "count", "filters": [{"column": "a", "op": "==", "value": "x" * 201}]},
        [],
        "count",
        None,
    ],
)
def test_malformed_computation_is_refused(members) -> None:
    with pytest.raises(ComputationInvalid):
        computation_of(members)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "count", "kind": "count"}', "NaN"])
def test_malformed_json_is_refused(text) -> None:
    with pytest.raises(ComputationInvalid):
        read_computation(text.encode())
    with pytest.raises(ComputationInvalid, match="bytes"):
        read_computation(b" " * (MOST_BYTES + 1))


def test_least_count_below_two_is_refused() -> None:
    for least in (1, 0, -5):
        with pytest.raises(ComputationInvalid, match="not a statistic"):
            run(computation("mean", column="age"), data(rows_of(9)), least)


def test_digest_and_words_of_a_computation() -> None:
    asked = computation(
        "quantile", column="income", q=0.25,
        filters=[{"column": "region", "op": "in", "value": ["N", "S"]},
                 {"column": "age", "op": "between", "value": [18, 64.5]},
                 {"column": "member", "op": "==", "value": True},
                 {"column": "who", "op": "is missing"}],
    )  # fmt: skip
    assert in_words(asked) == (
        'quantile 0.25 of income, where region is one of "N", "S" and age is between 18 and 64.5 '
        "and member is true and who is missing"
    )
    assert fields_of(asked) == ("income", "region", "age", "member", "who")
    again = read_computation(json.dumps(as_json(asked)).encode())
    assert again == asked and digest(again) == digest(asked)
    assert digest(asked) != digest(computation("quantile", column="income", q="0.26"))

    def numbers(value):
        if isinstance(value, dict):
            return [n for each in value.values() for n in numbers(each)]
        if isinstance(value, list):
            return [n for each in value for n in numbers(each)]
        return [value] if isinstance(value, float) else []

    assert numbers(as_json(asked)) == []
    assert in_words(computation("trend_per_month", date_column="day", of="count")) == (
        "number of rows per month of day"
    )
    assert in_words(computation("standard_deviation", column="age")) == "standard deviation of age"


def test_sum_of_integers_is_exact_while_parsers_read_it_exactly() -> None:
    rows = rows_of(10, age=10**13 + 1)
    assert run(computation("sum", column="age"), data(rows), 5).value == 10**14 + 10
    assert isinstance(run(computation("sum", column="age"), data(rows * 100), 5).value, float)
    small = [*rows_of(10, income=0.1), *rows_of(10, income=1e6), *rows_of(10, income=-1e6)]
    assert run(computation("sum", column="income"), data(small), 5).value == math.fsum([0.1] * 10)
