"""Dates of a column as months before a reference date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

_DAYS_PER_MONTH = 365.2425 / 12
_TIME = r"(?:[T ]+[0-9]{1,2}:[0-9]{2}[0-9:.,Z+ \-]*)?"
_ISO = re.compile(rf"(?P<y>[0-9]{{4}})[-/.](?P<m>[0-9]{{1,2}})(?:[-/.](?P<d>[0-9]{{1,2}}){_TIME})?")
_DAY_FIRST = re.compile(rf"(?P<d>[0-9]{{1,2}})\.(?P<m>[0-9]{{1,2}})\.(?P<y>[0-9]{{4}}){_TIME}")
_EITHER = re.compile(
    rf"(?P<a>[0-9]{{1,2}})(?P<s>[-/])(?P<b>[0-9]{{1,2}})(?P=s)(?P<y>[0-9]{{4}}){_TIME}"
)
_NAMED = re.compile(
    rf"(?:(?P<d>[0-9]{{1,2}})[- .]*)?(?P<m>[A-Za-zäÄ]{{3}})[- .]*(?P<y>[0-9]{{4}}){_TIME}"
)
_MONTH_FIRST = re.compile(r"(?P<m>[0-9]{1,2})[-/.](?P<y>[0-9]{4})")
_MONTHS = {
    name: number
    for names in (
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "jan feb mär apr mai jun jul aug sep okt nov dez",
    )
    for number, name in enumerate(names.split(), start=1)
}
NOT_A_DATE = "is not a date: write it as 2024-05-31"
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
        for pattern in (_ISO, _DAY_FIRST, _EITHER, _NAMED, _MONTH_FIRST)
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
    text = text.strip()
    found = _ISO.fullmatch(text) or _DAY_FIRST.fullmatch(text) or _MONTH_FIRST.fullmatch(text)
    try:
        if found:
            parts = found.groupdict()
            return date(int(parts["y"]), int(parts["m"]), int(parts.get("d") or 1))
        if found := _EITHER.fullmatch(text):
            day, month = (found["a"], found["b"]) if order == "day" else (found["b"], found["a"])
            return date(int(found["y"]), int(month), int(day))
        if found := _NAMED.fullmatch(text):
            month_number = _MONTHS.get(found["m"].casefold(), 0)
            return date(int(found["y"]), month_number, int(found["d"] or 1))
    except ValueError:
        return None
    return None


def _months(each: date, reference: date, whole: bool) -> float:
    if not whole:
        return (reference - each).days / _DAYS_PER_MONTH
    months = 12 * (reference.year - each.year) + reference.month - each.month
    return float(months - (reference.day < each.day))
