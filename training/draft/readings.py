"""The texts of a column as numbers, dates, or yes and no, as training reads them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "."})
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WITH_UNIT = re.compile(r"([+-]?[0-9.,]+)\+?\s*(%|[A-Za-z]+)?")
_PAIRS = (
    ({"1", "1.0"}, {"0", "0.0"}),
    ({"true", "t", "wahr"}, {"false", "f", "falsch"}),
    ({"yes", "y", "ja", "j", "oui", "o", "sí", "si", "s"}, {"no", "n", "nein", "non"}),
)


@dataclass(frozen=True)
class ParsedNumbers:
    values: list[float | None]
    unit: str


@dataclass(frozen=True)
class ParsedDates:
    values: list[float]
    integer: bool
    reference: date


def missing(text: str) -> bool:
    """Return True for a text that stands for no value."""
    return text.strip().lower() in _MISSING


def boolean_words(texts: Sequence[str]) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the texts that mean yes and those that mean no, or None for other texts."""
    words = {text.strip().lower() for text in texts}
    for true, false in _PAIRS:
        if words <= true | false:
            yes = frozenset(t for t in texts if t.strip().lower() in true)
            return yes, frozenset(texts) - yes
    return None


def numbers(texts: Sequence[str]) -> ParsedNumbers:
    """Return the number of each text, None where it has none, and the unit of most."""
    units: Counter[str] = Counter()
    values: list[float | None] = []
    for text in texts:
        value, unit = _number(text.strip())
        values.append(value)
        units[unit] += 1
    return ParsedNumbers(values, units.most_common(1)[0][0] if units else "")


def _number(text: str) -> tuple[float | None, str]:
    if len(text) > 64:
        return None, ""
    if _NUMBER.fullmatch(text):
        return float(text), ""
    found = _WITH_UNIT.fullmatch(text)
    if found and _NUMBER.fullmatch(plain := found[1].replace(",", "")):
        return float(plain), found[2] or ""
    return None, ""


def months_before(texts: Sequence[str], reference: date | None) -> ParsedDates | None:
    """Return the months of each date before `reference`, by default the newest of them."""
    try:
        dates = [_date(text.strip()) for text in texts]
    except ValueError:
        return None
    newest = reference or max(dates)
    days = [(newest.year - d.year) * 12 + newest.month - d.month for d in dates]
    return ParsedDates([float(math.floor(d)) for d in days], True, newest)


def _date(text: str) -> date:
    for form in ("%Y-%m-%d", "%d.%m.%Y"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise ValueError("not a date")
