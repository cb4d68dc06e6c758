"""Search for a less discriminatory alternative to a model.

Other shapes are fitted, and single inputs are dropped or coarsened, each time the change that
raises the lowest impact ratio most within a bounded loss of AUC. All models approve the share that
the trained model approves, so that none gains by approving everybody. The search looks at the
validation rows; the figures that are reported are those of the test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from features.schema import OrdinalColumn
from training.models import SHAPES, Labels, Shape, fit, log_odds
from training.report.estimates import Estimate, auc
from training.report.fairness import LowestRatio
from training.report.groups import Groups
from utils.errors import TrainingDataInvalid

LEAST_GAIN = 0.005
"""Rise of the lowest impact ratio below which the search ends."""
_LEAST_CUTS = 4

Margins = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Rows of one split: `bits` (rows, n_bits), `y` (rows,) with 1 = approved, their groups."""

    bits: Bits
    y: Labels
    groups: list[Groups]


@dataclass(frozen=True)
class Change:
    """An input that is dropped, or coarsened to every second of its cut points."""

    kind: str
    column: str

    @property
    def text(self) -> str:
        return f"{self.column} dropped" if self.kind == "drop" else f"{self.column} coarsened"


@dataclass(frozen=True)
class Measured:
    """A model on the test rows, and on the validation rows where it was not trained on them."""

    name: str
    changes: tuple[Change, ...]
    auc: Estimate
    impact_ratio: Estimate
    approved: float
    validation_auc: float | None = None
    validation_impact_ratio: float | None = None
    chosen: bool = False
    pareto: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Bounds:
    """The bounds of a search: rounds of changes, fits in all, and loss of validation AUC."""

    rounds: int = 3
    fits: int = 100
    loss: float = 0.02


def keep_bits(layout: Layout, changes: tuple[Change, ...]) -> NDArray[np.bool_]:
    """Return which bits a changed model may split on, shape (n_bits,).

    The others are set to 0: a split on them never gains, so that no tree has one.
    """
    kept = np.ones(layout.n_bits, np.bool_)
    for change in changes:
        code = layout.code(change.column)
        if change.kind == "drop":
            kept[code.first_bit : code.first_bit + code.n_bits] = False
        elif isinstance(code.column, OrdinalColumn):
            kept[code.first_bit + 1 : code.first_bit + len(code.column.cuts) : 2] = False
    return kept


def possible_changes(layout: Layout) -> list[Change]:
    """Return a dropping of every input, and a coarsening of those with at least four cuts."""
    columns = [code.column for code in layout.codes]
    coarse = [c for c in columns if isinstance(c, OrdinalColumn) and len(c.cuts) >= _LEAST_CUTS]
    return [
        *(Change("drop", column.name) for column in columns),
        *(Change("coarsen", column.name) for column in coarse),
    ]


class Search:
    """Fits and measures alternatives on `train`, `validation` and `test` rows.

    `trained` returns the trained model's margins of bits; `shape` is the shape that is fitted again
    with changed inputs. Raises TrainingDataInvalid if no audited column can be compared.
    """

    def __init__(
        self,
        layout: Layout,
        train: tuple[Bits, Labels],
        validation: Part,
        test: Part,
        trained: Callable[[Bits], Margins],
        shape: Shape,
        bounds: Bounds,
    ) -> None:
        self._layout, self._train = layout, train
        self._validation, self._test = validation, test
        self._trained, self._shape, self._bounds = trained, shape, bounds
        self._left = bounds.fits
        self._share = float((trained(validation.bits) > 0).mean())
        for part, name in ((validation, "validation"), (test, "test")):
            if not any(own.large.sum() > 1 for own in part.groups):
                raise TrainingDataInvalid(
                    f"No audited column has two groups of at least 30 rows among the {name} rows, "
                    'so there is nothing to compare. Add rows, or name other columns in "audit" '
                    'or "audit_columns" of the schema.'
                )
        if not 0 < self._share < 1:
            raise TrainingDataInvalid(
                "The trained model approves all of the validation rows or none of them, so that "
                "no approval rates can be compared. Train it with another cut-off."
            )

    def models(self) -> Iterator[Measured]:
        """Yield the trained model, then every alternative, in the order of the search."""
        yield self._measured_trained()
        base = self._fitted(self._shape, ())
        yield base
        for shape in SHAPES:
            if shape.name != self._shape.name and self._left > 0:
                yield self._fitted(shape, ())
        current = base
        for _ in range(self._bounds.rounds):
            best = current
            for change in possible_changes(self._layout):
                if self._left <= 0 or change.column in {c.column for c in current.changes}:
                    continue
                tried = self._fitted(self._shape, (*current.changes, change))
                yield tried
                if self._better(tried, best, base):
                    best = tried
            if _ratio(best) < _ratio(current) + LEAST_GAIN:
                return
            current = best

    def _better(self, tried: Measured, best: Measured, base: Measured) -> bool:
        affordable = (base.validation_auc or 0.0) - (tried.validation_auc or 0.0)
        return affordable <= self._bounds.loss and _ratio(tried) > _ratio(best)

    def _fitted(self, shape: Shape, changes: tuple[Change, ...]) -> Measured:
        self._left -= 1
        kept = keep_bits(self._layout, changes)
        bits, y = self._train
        booster = fit(shape, self._layout, bits * kept, y)
        validation = log_odds(booster, self._validation.bits * kept)
        test = log_odds(booster, self._test.bits * kept)
        cut_off = cut_off_for(validation, self._share)
        inside = LowestRatio(self._validation.groups, validation > cut_off).value()
        name = "; ".join([shape.name, *(change.text for change in changes)])
        area = auc(self._validation.y, validation)
        return self._on_test(
            name,
            changes,
            test,
            cut_off,
            validation_auc=None if area is None else area.value,
            validation_impact_ratio=inside,
        )

    def _measured_trained(self) -> Measured:
        margins = self._trained(self._test.bits)
        return self._on_test("the trained model", (), margins, 0.0, chosen=True)

    def _on_test(
        self, name: str, changes: tuple[Change, ...], margins: Margins, cut_off: float, **more: Any
    ) -> Measured:
        approved = margins > cut_off
        area = auc(self._test.y, margins)
        ratio = LowestRatio(self._test.groups, approved).estimate()
        nowhere = Estimate(float("nan"), float("nan"), float("nan"))
        return Measured(
            name, changes, area or nowhere, ratio or nowhere, float(approved.mean()), **more
        )


def _ratio(model: Measured) -> float:
    return model.validation_impact_ratio or 0.0


def cut_off_for(margins: Margins, share: float) -> float:
    """Return a cut-off above which about `share` of the margins (rows,) lie."""
    return float(np.quantile(margins, 1 - share, method="lower"))


def pareto_set(models: list[Measured]) -> list[bool]:
    """Return, for each model, whether no other has a higher AUC and impact ratio at once.

    A model that equals another in one of the two and is lower in the other is not in the set.
    """

    def beaten(model: Measured) -> bool:
        own = (model.auc.value, model.impact_ratio.value)
        others = ((m.auc.value, m.impact_ratio.value) for m in models)
        return not all(np.isfinite(own)) or any(
            a >= own[0] and r >= own[1] and (a, r) != own for a, r in others
        )

    return [not beaten(model) for model in models]


def table(models: list[Measured]) -> str:
    """Return the models as text, the trained one first, then by falling impact ratio."""
    order = sorted(models, key=lambda m: (not m.chosen, -m.impact_ratio.value, -m.auc.value))
    width = max(len(model.name) for model in models) + 3
    lines = [f"{'   model':<{width}} {'AUC (95 %)':<25} {'impact ratio (95 %)':<25} approved"]
    for model in order:
        mark = (">" if model.chosen else " ") + ("*" if model.pareto else " ")
        lines.append(
            f"{mark + ' ' + model.name:<{width}} {model.auc.text():<25} "
            f"{model.impact_ratio.text():<25} {model.approved:>7.1%}"
        )
    marks = "> the trained model; * no other model has more of both (Pareto set)"
    return "\n".join([*lines, marks])
