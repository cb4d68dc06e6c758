"""A column of the schema, drafted from the column's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.draft.categories import values_of
from training.draft.cut_points import cut_points, limits, roundest
from training.draft.kinds import Category, LeftOut, Number, Reading, YesNo
from training.draft.vocabulary import Meaning

_MIDDLE = (0.4, 0.6)
_LONGEST_UNIT = 40
_FEWEST_VALUES = 2


@dataclass(frozen=True, repr=False)
class Drafted:
    """A drafted column: its document in the schema, its values, and the reason for its form."""

    header: str
    document: dict[str, Any]
    reading: Number | YesNo | Category
    meaning: Meaning
    why: str

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def ordinal(self) -> bool:
        return self.document["kind"] == "ordinal"


def draft_column(
    header: str, name: str, label: str, reading: Reading, meaning: Meaning, bins: int, fewest: int
) -> Drafted | LeftOut:
    """Return the column with its domain, or the reason why it is left out."""
    if isinstance(reading, LeftOut):
        return reading
    document: dict[str, Any] = {"name": name, "label": label}
    if header != name:
        document["source"] = header
    optional = bool(reading.missing.any())
    if optional:
        document["optional"] = True
    if isinstance(reading, Number):
        drafted = _ordinal(reading, bins, fewest)
        if isinstance(drafted, LeftOut):
            return drafted
        own, note = drafted
    elif isinstance(reading, YesNo):
        own, note = _boolean(reading)
    else:
        own, note = _categorical(reading, fewest)
        if len(own["values"]) < _FEWEST_VALUES:
            return LeftOut(f"no text occurs in at least {fewest} rows")
    why = ", ".join(part for part in (reading.why, note) if part)
    if optional:
        why += f"; {reading.missing.mean():.1%} missing"
    return Drafted(header, document | own, reading, meaning, why)


def _ordinal(number: Number, bins: int, fewest: int) -> tuple[dict[str, Any], str] | LeftOut:
    values = number.values[~number.missing]
    cuts = cut_points(values, bins, fewest, number.integer)
    if not cuts:
        return LeftOut(f"no cut leaves at least {fewest} rows on either side")
    minimum, maximum = limits(values, cuts, fewest)
    document = {
        "kind": "ordinal",
        "unit": number.unit[:_LONGEST_UNIT],
        "minimum": minimum,
        "maximum": maximum,
        "integer": number.integer,
        "cuts": cuts,
        "default": _typical(values, cuts, minimum, maximum, number.integer),
        "clip": True,
    }
    return document, f"{len(cuts) + 1} bins"


def _typical(
    values: NDArray[np.float64], cuts: list[float], minimum: float, maximum: float, integer: bool
) -> float:
    """Return a round number near the median, in the median's bin."""
    middle = float(np.median(values))
    low, high = (float(q) for q in np.quantile(values, _MIDDLE))
    index = int(np.searchsorted(cuts, middle, side="right"))
    floor = [minimum, *cuts][index]
    near = roundest(max(low, floor), max(min(high, maximum), floor), middle, integer)
    inside = near if floor <= near < [*cuts, np.inf][index] else floor
    return min(max(inside, minimum), maximum)


def _boolean(reading: YesNo) -> tuple[dict[str, Any], str]:
    given = reading.positions[~reading.missing]
    document: dict[str, Any] = {"kind": "boolean", "default": bool(given.mean() > 0.5)}
    return document, ""


def _categorical(reading: Category, fewest: int) -> tuple[dict[str, Any], str]:
    values, other, groups, note = values_of(reading, fewest)
    document: dict[str, Any] = {"kind": "categorical", "values": values, "other": other}
    if groups:
        document["groups"] = groups
    counts = np.bincount(reading.positions[~reading.missing], minlength=len(reading.texts))
    commonest = reading.texts[int(counts.argmax())].strip()
    holder = next((value for value, texts in groups.items() if commonest in texts), commonest)
    document["default"] = holder if holder in values else values[0]
    return document, note
