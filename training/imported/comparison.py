"""Comparison of an imported model with its source, on rows over the whole domain and on data.

The source's log-odds are computed from its raw trees, and those of the imported model from the
bits by `model.booster`, so that an error in the cut points, the categories or the trees shows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from features.encoding import Bits, Layout
from features.schema import BooleanColumn, CategoricalColumn, Column, OrdinalColumn, Schema
from model.booster import Ensemble
from training.imported.ensemble import SourceModel, Values
from training.imported.features import Binding, raw_rows
from utils.errors import ImportRefused

NEAR_TIE = 1e-6
"""Log-odds nearer to 0 may change their sign by rounding, and are counted apart."""
DOMAIN_ROWS = 1000
_MISSING_SHARE = 0.1
_TINY = 1e-30
"""Far above the numbers that LightGBM takes as 0, and below any other number of a record."""


@dataclass(frozen=True)
class Comparison:
    """The agreement on some rows; the AUCs are None without outcomes.

    `changed` are rows with another decision, without `near_ties`. `outside` are rows with a value
    that the schema clips or groups, which are not compared.
    """

    rows: int
    outside: int
    changed: int
    near_ties: int
    largest_difference: float
    source_auc: float | None = None
    auc: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)


class Comparer:
    """Compares the imported `ensemble` over `layout` with the `model` that it was made from."""

    def __init__(
        self,
        model: SourceModel,
        bindings: dict[int, Binding],
        sign: int,
        ensemble: Ensemble,
        layout: Layout,
    ) -> None:
        self._model, self._bindings, self._sign = model, bindings, sign
        self._ensemble, self._layout = ensemble, layout

    def source_log_odds(self, frame: pd.DataFrame) -> Values:
        """Return the source's log-odds of approval, shape (rows,)."""
        raw = raw_rows(frame, self._bindings, len(self._model.features))
        return self._sign * self._model.log_odds(raw)

    def compare(
        self, frame: pd.DataFrame, bits: Bits, y: NDArray[np.int8] | None = None
    ) -> Comparison:
        """Compare rows, given as the schema's columns and as bits; `y` is 1 for approved."""
        theirs = self.source_log_odds(frame)
        leaves = self._ensemble.leaf_values(bits).sum(axis=1)
        ours = self._ensemble.base_margin + leaves
        inside = ~outside_domain(frame, self._layout.schema)
        differ = np.abs(ours - theirs)[inside]
        other = ((ours > 0) != (theirs > 0)) & inside
        tie = other & (np.abs(theirs) < NEAR_TIE)
        measured = y is not None and len(set(y.tolist())) == 2
        return Comparison(
            rows=len(frame),
            outside=int((~inside).sum()),
            changed=int((other & ~tie).sum()),
            near_ties=int(tie.sum()),
            largest_difference=float(differ.max(initial=0.0)),
            source_auc=float(roc_auc_score(y, theirs)) if measured else None,
            auc=float(roc_auc_score(y, ours)) if measured else None,
        )

    def require_equal(self, found: Comparison, which: str) -> None:
        """Raise ImportRefused unless the decisions are equal and the log-odds differ by rounding.

        Single precision has 24 bits: each leaf is rounded by at most 2^-24 of its size.
        """
        size = (
            1
            + abs(self._model.base)
            + sum(
                max((abs(leaf.value) for leaf in tree.leaves), default=0.0)
                for tree in self._ensemble.trees
            )
        )
        if found.changed or found.largest_difference > size * 2.0**-22:
            raise ImportRefused(
                f"The imported model differs from its source on {which}: other decisions on "
                f"{found.changed} of {found.rows} rows, and log-odds by up to "
                f"{found.largest_difference:.3g}. This is a bug of the import; please report it "
                "with the model file."
            )


def outside_domain(frame: pd.DataFrame, schema: Schema) -> NDArray[np.bool_]:
    """Return True for each row with a value that the schema clips, or counts as another one."""
    outside = np.zeros(len(frame), np.bool_)
    for column in schema.columns():
        values = frame[column.name]
        if isinstance(column, CategoricalColumn):
            texts = [t for v in column.values for t in (v, *column.groups.get(v, ()))]
            outside |= (~values.isin(texts) & values.notna()).to_numpy(bool)
        elif not isinstance(column, BooleanColumn):
            numbers = np.asarray(pd.to_numeric(values), np.float64)
            outside |= (numbers < column.minimum) | (numbers > column.maximum)
    return outside


def domain_frame(
    layout: Layout, seed: int, rows: int = DOMAIN_ROWS, rounded: bool = False
) -> pd.DataFrame:
    """Draw rows over the whole domain of a layout's schema; equal seeds give equal rows.

    A third of the numbers are evenly distributed, a third are the cut points and the numbers just
    below, and a third lie anywhere in a random bin. With `rounded` cut points, the number just
    below is that of single precision, since those in between count as the cut point in the source.
    """
    generator = np.random.default_rng(seed)
    frame = {}
    for column in layout.schema.columns():
        values: NDArray[Any] = _drawn(column, generator, rows, rounded)
        if column.optional:
            values = values.astype(object)
            values[generator.random(rows) < _MISSING_SHARE] = None
        frame[column.name] = values
    return pd.DataFrame(frame, columns=[column.name for column in layout.schema.columns()])


def _drawn(
    column: Column, generator: np.random.Generator, rows: int, rounded: bool
) -> NDArray[Any]:
    if isinstance(column, BooleanColumn):
        return generator.integers(0, 2, rows).astype(bool)
    if isinstance(column, CategoricalColumn):
        return np.array(column.values, object)[generator.integers(0, len(column.values), rows)]
    edges = np.array([column.minimum, *column.cuts, column.maximum])
    bins = generator.integers(0, len(edges) - 1, rows)
    inside = generator.uniform(edges[bins], edges[bins + 1])
    ends = np.concatenate([edges, np.maximum(_just_below(edges, column, rounded), column.minimum)])
    chosen = [
        generator.uniform(column.minimum, column.maximum, rows),
        generator.choice(ends, rows),
        inside,
    ]
    values = np.choose(generator.integers(0, 3, rows), chosen)
    if column.integer:
        values = np.clip(np.floor(values), column.minimum, np.floor(column.maximum))
    return values


def _just_below(edges: Values, column: OrdinalColumn, rounded: bool) -> Values:
    if column.integer:
        return edges - 1
    if not rounded:
        return np.nextafter(edges, -np.inf)
    below = np.nextafter(edges.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    return np.where(np.abs(edges) < _TINY, -_TINY, below)
