"""Random schemas, records, polynomials and ensembles for the property-based tests.

They are small on purpose: with a few columns of every kind, hypothesis reaches the edge cases
(missing values, two thresholds of one column, two categories), and some schemas can be enumerated.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import BooleanColumn, CategoricalColumn, Column, Schema
from model.booster import Ensemble, Leaf, Tree
from model.program import Program, decide_program
from model.quantise import quantise

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SLOW = settings(QUICK, max_examples=15)

PARTIES = ("applicant", "bank", "agency", "insurer")


def _ordinal(draw: Any, name: str, optional: bool, bins: int) -> dict[str, Any]:
    integer = draw(st.booleans())
    steps = draw(st.lists(st.integers(1, 5), min_size=2, max_size=bins))
    edges = list(itertools.accumulate(steps, initial=draw(st.integers(-3, 3))))
    scale = 1 if integer else draw(st.sampled_from([1, 0.5, 0.1]))
    edges = [edge * scale for edge in edges]
    maximum = edges[-1] if draw(st.booleans()) else edges[-1] + 2
    default = None if optional and draw(st.booleans()) else edges[1]
    return {
        "kind": "ordinal",
        "minimum": edges[0],
        "maximum": maximum,
        "integer": integer,
        "cuts": edges[1:],
        "default": default,
    }


def _column(draw: Any, name: str, kind: str, bins: int) -> dict[str, Any]:
    optional = draw(st.booleans())
    column: dict[str, Any] = {"name": name, "kind": kind, "label": name, "optional": optional}
    if kind == "ordinal":
        return column | _ordinal(draw, name, optional, bins)
    if kind == "boolean":
        return column | {"default": draw(st.booleans())}
    values = [f"{name} {i}" for i in range(draw(st.integers(2, bins)))]
    return column | {"values": values, "default": values[0]}


def _some(draw: Any, cuts: list[float]) -> list[float]:
    """Draw some of the cuts, in their order."""
    return sorted(draw(st.sets(st.sampled_from(cuts), min_size=1)))


def _varied(draw: Any, explained: str, columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw the direction and steps of an explanation, its alternatives and pairs."""
    cuts = {column["name"]: column["cuts"] for column in columns if column["kind"] == "ordinal"}
    direction = st.sampled_from(["more", "less"])
    others = draw(st.permutations([name for name in cuts if name != explained]))[:2]
    names = [explained, *others]
    pairs = st.lists(
        st.sampled_from(list(itertools.combinations(names, 2)) or [()]), max_size=3, unique=True
    )
    return {
        "direction": draw(direction),
        "steps": _some(draw, cuts[explained]) if draw(st.booleans()) else None,
        "alternatives": [
            {
                "column": name,
                "direction": draw(direction),
                "steps": _some(draw, cuts[name]),
                "phrase": f"of {name}",
            }
            for name in others
        ],
        "pairs": draw(pairs) if others else [],
    }


@st.composite
def schemas(
    draw: Any, most_parties: int = 4, most_columns: int = 3, bins: int = 5, varied: bool = False
) -> Schema:
    """Draw a valid schema whose explained column and assumptions belong to a random party.

    With `varied`, the explanation has a direction, and perhaps steps, alternatives and pairs.
    """
    parties = []
    n = draw(st.integers(2, most_parties))
    explained = draw(st.integers(0, n - 1))
    assume = {}
    for i, party in enumerate(PARTIES[:n]):
        kinds = draw(
            st.lists(
                st.sampled_from(["boolean", "ordinal", "categorical"]),
                min_size=1,
                max_size=most_columns,
            )
        )
        if i == explained:
            kinds = ["ordinal", *kinds[1:]]
        columns = [_column(draw, f"C{i}_{j}", kind, bins) for j, kind in enumerate(kinds)]
        parties.append({"name": party, "label": party.title(), "columns": columns})
        if i == explained and draw(st.booleans()):
            flags = [c["name"] for c in columns if c["kind"] == "boolean"]
            assume = {name: draw(st.booleans()) for name in flags}
    name = f"C{explained}_0"
    every = [column for party in parties for column in party["columns"]]
    return Schema.parse(
        {
            "name": "random",
            "title": "Random",
            "parties": parties,
            "decision": {"target": "Bad"},
            "explanation": {"column": name, "assume": assume, "phrase": "units"}
            | (_varied(draw, name, every) if varied else {}),
        }
    )


def tiny_schemas(varied: bool = False) -> st.SearchStrategy[Schema]:
    """Draw schemas whose inputs can be enumerated: at most about 4**4 = 256 combinations."""
    return schemas(most_parties=2, most_columns=2, bins=3, varied=varied)


def layouts(**limits: int) -> st.SearchStrategy[Layout]:
    return schemas(**limits).map(Layout)


def values(column: Column) -> st.SearchStrategy[Any]:
    """Draw values that the column allows, including missing ones if it is optional."""
    allowed: st.SearchStrategy[Any]
    if isinstance(column, BooleanColumn):
        allowed = st.sampled_from([False, True, 0, 1, 0.0, 1.0])
    elif isinstance(column, CategoricalColumn):
        allowed = st.sampled_from(column.values)
    elif column.integer:
        allowed = st.integers(int(column.minimum), int(column.maximum))
    else:
        allowed = st.floats(column.minimum, column.maximum) | st.sampled_from(column.cuts)
    missing = st.sampled_from([None, float("nan"), "", "  "])
    return allowed | missing if column.optional else allowed


def records(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({c.name: values(c) for c in schema.columns()})


def all_states(layout: Layout) -> np.ndarray:
    """Return every combination of column states, shape (combinations, columns)."""
    own = [range(c.first_state, c.first_state + c.n_states) for c in layout.codes]
    return np.array(list(itertools.product(*own)), np.int64)


def all_bits(layout: Layout) -> np.ndarray:
    """Return the bits of every possible input, shape (inputs, n_bits)."""
    return layout.bits_of_states(all_states(layout))


def monomials(layout: Layout, degree: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw sorted bits, at most one per column."""
    bit = st.integers(0, layout.n_bits - 1)
    return st.lists(bit, max_size=degree, unique_by=lambda b: layout.code_of_bit[b].first_bit).map(
        lambda bits: tuple(sorted(bits))
    )


def polynomials(
    layout: Layout, outputs: int = 1, terms: int = 20, largest: int = 40
) -> st.SearchStrategy[dict[tuple[int, ...], np.ndarray]]:
    """Draw polynomials without zero coefficients; several outputs share some terms."""
    number = st.integers(-largest, largest)
    vector = st.lists(number, min_size=outputs, max_size=outputs) | number.map(
        lambda value: [value] * outputs
    )
    coefficients = vector.filter(any).map(lambda v: np.array(v, np.int64))
    return st.dictionaries(monomials(layout), coefficients, max_size=terms)


@st.composite
def ensembles(draw: Any, layout: Layout, most_trees: int = 6, depth: int = 3) -> Ensemble:
    """Draw random trees over the bits of a layout, in the form that model.booster returns."""
    value = st.floats(-1.5, 1.5, width=32)

    def grow(path: dict[int, bool], left: int) -> list[Leaf]:
        free = [b for b in range(layout.n_bits) if b not in path]
        if not left or not free or (path and draw(st.integers(0, 3)) == 0):
            return [Leaf(tuple(sorted(path.items())), draw(value), 1.0)]
        bit = draw(st.sampled_from(free))
        return [leaf for side in (False, True) for leaf in grow(path | {bit: side}, left - 1)]

    count = draw(st.integers(1, most_trees))
    trees = tuple(Tree(tuple(grow({}, depth))) for _ in range(count))
    return Ensemble(trees, draw(st.sampled_from([0.0, 0.4, -0.7])))


def log_odds(ensemble: Ensemble, bits: np.ndarray) -> np.ndarray:
    """Return the log-odds by checking every leaf, shape (rows,): the simplest evaluation."""
    total = np.full(len(bits), ensemble.base_margin)
    for tree in ensemble.trees:
        for leaf in tree.leaves:
            holds = np.all([bits[:, bit] == wanted for bit, wanted in leaf.path] or [True], axis=0)
            total += leaf.value * holds
    return total


@st.composite
def decide_programs(draw: Any, layout: Layout) -> Program:
    """Draw the program of a random ensemble at a random width."""
    ensemble = draw(ensembles(layout))
    return decide_program(quantise(ensemble, layout, draw(st.integers(4, 12))), layout)
