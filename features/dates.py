"""Dates of a column as months before a reference date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

_DAYS_PER_MONTH = 365.2425 / 12
_YEAR = "(?P<y>[0-9]{4}|[0-9]{2})"
_TIME = r"(?:[T ]+[0-9]{1,2}:[0-9]{2}[0-9:.,Z+ \-]*)?"
_ISO = re.compile(rf"(?P<y>[0-9]{{4}})[-/.](?P<m>[0-9]{{1,2}})(?:[-/.](?P<d>[0-9]{{1,2}}){_TIME})?")
_DAY_FIRST = re.compile(rf"(?P<d>[0-9]{{1,2}})\.(?P<m>[0-9]{{1,2}})\.{_YEAR}{_TIME}")
_EITHER = re.compile(rf"(?P<a>[0-9]{{1,2}})(?P<s>[-/])(?P<b>[0-9]{{1,2}})(?P=s){_YEAR}{_TIME}")
_NAMED = re.compile(rf"(?:(?P<d>[0-9]{{1,2}})[- .]*)?(?P<m>[A-Za-zäÄ]{{3}})[- .]*{_YEAR}{_TIME}")
_MONTH_FIRST = re.compile(r"(?P<m>[0-9]{1,2})[-/.](?P<y>[0-9]{4})")
_COMPACT = re.compile(r"(?P<y>(?:19|20)[0-9]{2})(?P<m>[0-9]{2})(?P<d>[0-9]{2})")
_MONTHS = {
    name: number
    for names in (
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "jan feb mär apr mai jun jul aug sep okt nov dez",
    )
    for number, name in enumerate(names.split(), start=1)
}
NOT_A_DATE = "is not a date with four digits of the year: write it as 2024-05-31"
AMBIGUOUS = "may have the day or the month first: write the dates as 2024-05-31"


@dataclass(frozen=True)
class Months:
    """Months before `reference` of texts, in their order; None where `faults` says why not."""

    values: list[float | None]
    faults: dict[int, str]
    reference: date | None


def looks_like_date(text: str) -> bool:
    """Return True if a text is a date in one of the forms that `months_before` reads."""
    return any(
        pattern.fullmatch(text.strip())
        for pattern in (_ISO, _DAY_FIRST, _EITHER, _NAMED, _MONTH_FIRST, _COMPACT)
    )


def months_before(
    texts: Sequence[str], whole: bool = False, reference: date | None = None
) -> Months:
    """Return the months from each date to `reference`, by default the newest of the dates.

    `whole` months are completed calendar months; otherwise a month has 365.2425 / 12 days.
    """
    order, wrong_order = _order(texts)
    dates = [None if i in wrong_order else _date(text, order) for i, text in enumerate(texts)]
    faults = {i: NOT_A_DATE for i, each in enumerate(dates) if each is None} | wrong_order
    known = [each for each in dates if each is not None]
    reference = reference or max(known, default=None)
    values: list[float | None] = []
    for each in dates:
        values.append(
            None if each is None or reference is None else _months(each, reference, whole)
        )
    return Months(values, faults, reference)


def _order(texts: Sequence[str]) -> tuple[str, dict[int, str]]:
    """Return `day` or `month`, of which comes first, and the faults if the dates do not show it."""
    found = {i: m for i, text in enumerate(texts) if (m := _EITHER.fullmatch(text.strip()))}
    day_first = {i for i, each in found.items() if int(each["a"]) > 12}
    month_first = {i for i, each in found.items() if int(each["b"]) > 12}
    if bool(day_first) == bool(month_first):
        return "day", dict.fromkeys(found, AMBIGUOUS)
    return ("day" if day_first else "month"), {}


def _date(text: str, order: str) -> date | None:
    for pattern in (_ISO, _DAY_FIRST, _MONTH_FIRST, _COMPACT, _EITHER, _NAMED):
        if found := pattern.fullmatch(text.strip()):
            break
    else:
        return None
    parts = found.groupdict()
    if pattern is _EITHER:
        parts["d"], parts["m"] = (
            (parts["a"], parts["b"]) if order == "day" else (parts["b"], parts["a"])
        )
    month = _MONTHS.get(parts["m"].casefold(), 0) if pattern is _NAMED else int(parts["m"])
    if len(parts["y"]) < 4:
        return None
    try:
        return date(int(parts["y"]), month, int(parts.get("d") or 1))
    except ValueError:
        return None


def _months(each: date, reference: date, whole: bool) -> float:
    if not whole:
        return (reference - each).days / _DAYS_PER_MONTH
    months = 12 * (reference.year - each.year) + reference.month - each.month
    return float(months - (reference.day < each.day))
