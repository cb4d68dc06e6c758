"""Numbers as people and spreadsheets write them: decimal commas, groups of thousands, units.

The texts of one column are read together, since one text alone can be ambiguous: `1,500` is 1500 in
one country and 1.5 in another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite

from features.schema import OrdinalColumn

_LONGEST = 64
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CURRENCY = "[$€£¥]|eur|usd|gbp|chf|inr|jpy|cad|aud|sek|dkk|nok|pln|brl|cny|dm|rs\\.?|kr\\.?"
_BLANKS = " \u00a0\u202f\u2009"
_PARTS = re.compile(
    rf"(?P<sign>[+\-\u2212]?)[{_BLANKS}]*"
    rf"(?P<currency>(?i:{_CURRENCY})|[A-Z]{{1,2}}\$)?[{_BLANKS}]*"
    rf"(?P<second_sign>[+\-\u2212]?)(?P<core>[.,]?[0-9](?:[0-9.,'’{_BLANKS}]*[0-9])?[.,]?)"
    rf"(?P<exponent>[eE][+-]?[0-9]{{1,3}})?[{_BLANKS}]*(?P<plus>\+?)[{_BLANKS}]*"
    rf"(?P<unit>[^0-9+\-\u2212,'\"]{{0,24}})"
)
_UNDER_ONE = re.compile(r"<\s*1(?P<unit>[^0-9]*)")
_GROUPS = {
    ",": re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}"),
    ".": re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+"),
    " ": re.compile(r"[0-9]{1,3}(?: [0-9]{3})+"),
}
_ONE_GROUP = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
_MULTIPLIERS = re.compile(
    r"(?i)(?:k|t|m|b|bn|mn|mio|mln|mrd|tsd|thousand|tausend|million|millions|billion|lakh|lac|lakhs|"
    r"crore|cr|hundred|dozen)"
)
_CURRENCIES = re.compile(f"(?i){_CURRENCY}")
NOT_A_NUMBER = "is not a number"
MULTIPLIES = "has a unit that multiplies (such as k or Mio): write the number in full"
AMBIGUOUS = (
    "may be a decimal or a number with a group of thousands: write it without groups, or with "
    "another number of decimals"
)


@dataclass(frozen=True)
class Numbers:
    """The numbers of texts, in their order; None where `faults` says why there is none."""

    values: list[float | None]
    faults: dict[int, str]
    notes: list[str]
    """Clauses on how the numbers were read."""


@dataclass(frozen=True)
class _Text:
    """A text divided: its digits with separators, its unit in lower case, and its currency."""

    negative: bool
    core: str
    exponent: str
    unit: str
    currency: str
    open_ended: bool
    under_one: bool = False


def plain_number(text: str) -> float | None:
    """Return the number of a text with a decimal point and nothing else, or None."""
    stripped = text.strip()
    if len(text) > _LONGEST or not _PLAIN.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if isfinite(number) else None


def decimal_marks(texts: Sequence[str]) -> set[str]:
    """Return the marks, `.` or `,`, that are certainly a decimal mark in one of the texts."""
    found = (_divided(text) for text in texts)
    marks = {_certain_mark(each.core) for each in found if each is not None}
    return {mark for mark in marks if mark}


def read_numbers(
    column: OrdinalColumn, texts: Sequence[str], separator: str = ",", mark: str | None = None
) -> Numbers:
    """Return the numbers of the distinct, non-missing texts of a column.

    `separator` is the file's, and `mark` its decimal mark where other columns show it.
    """
    plain = [plain_number(text) for text in texts]
    dotted = separator != "," and any(_ONE_GROUP.fullmatch(text.strip()) for text in texts)
    if None not in plain and not dotted:
        return Numbers(plain, {}, [])
    divided = [_divided(text) for text in texts]
    faults = {i: NOT_A_NUMBER for i, each in enumerate(divided) if each is None}
    faults |= _other_units({i: each for i, each in enumerate(divided) if each is not None})
    left = {i: each for i, each in enumerate(divided) if each is not None and i not in faults}
    chosen, wrong, notes = _mark_of(column, left, separator, mark)
    faults |= wrong
    values: list[float | None] = [None] * len(texts)
    for i, each in left.items():
        if i not in faults:
            values[i] = _value(each, chosen)
            if values[i] is None:
                faults[i] = NOT_A_NUMBER
    read = [each for i, each in left.items() if i not in faults]
    return Numbers(values, faults, [*(notes or _mark_notes(read, chosen)), *_unit_notes(read)])


def _divided(text: str) -> _Text | None:
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if under := _UNDER_ONE.fullmatch(text):  # of whole numbers, only 0 is less than 1
        return _Text(False, "0", "", _unit(under["unit"]), "", True, under_one=True)
    bracketed = text.startswith("(") and text.endswith(")")  # how accountants write a minus
    found = _PARTS.fullmatch(text[1:-1].strip() if bracketed else text)
    if found is None or (found["sign"] and found["second_sign"]):
        return None
    minus = bracketed or (found["sign"] or found["second_sign"]) in ("-", "\u2212")
    core = re.sub(f"[{_BLANKS}'’]", " ", found["core"])
    unit = found["unit"]
    currency = found["currency"] or ""
    if money := _CURRENCIES.fullmatch(unit.strip()):
        unit, currency = "", currency or money[0]
    return _Text(minus, core, found["exponent"] or "", _unit(unit), currency, bool(found["plus"]))


def _unit(text: str) -> str:
    """Return a unit in lower case, and in the singular as far as a final letter tells."""
    return " ".join(text.casefold().split()).removesuffix("s").removesuffix("e")


def _is_multiplier(unit: str) -> bool:
    words = _CURRENCIES.sub(" ", unit).split()
    return any(_MULTIPLIERS.fullmatch(each.strip(".")) for each in words)


def _other_units(texts: dict[int, _Text]) -> dict[int, str]:
    """Return the faults of units: multipliers, and several units in one column."""
    faults = {i: MULTIPLIES for i, each in texts.items() if _is_multiplier(each.unit)}
    for kind in ("unit", "currency"):
        used = {
            i: getattr(each, kind)
            for i, each in texts.items()
            if i not in faults and (kind == "currency" or each.core.strip("0.,") or each.unit)
        }
        if kind == "currency":
            used = {i: unit for i, unit in used.items() if unit}
        if len(set(used.values())) > 1:
            usual = Counter(used.values()).most_common(1)[0][0]
            faults |= {
                i: f"has another unit than other rows ({usual or 'none'}): use one unit"
                for i, unit in used.items()
                if unit != usual
            }
    return faults


def _certain_mark(core: str) -> str | None:
    """Return the decimal mark that a number shows, "" if it has none, or None if either may be."""
    points, commas = core.count("."), core.count(",")
    if points and commas:
        return "." if core.rindex(".") > core.rindex(",") else ","
    if not points and not commas:
        return ""
    own = "." if points else ","
    if points + commas > 1:
        return "," if points else "."
    if " " in core:
        return own
    return None if _ONE_GROUP.fullmatch(core) else own


def _mark_of(
    column: OrdinalColumn, texts: dict[int, _Text], separator: str, mark: str | None
) -> tuple[str, dict[int, str], list[str]]:
    """Return the column's decimal mark, the faults of texts with another one, and notes."""
    marks = {i: _certain_mark(each.core) for i, each in texts.items()}
    certain = Counter(each for each in marks.values() if each)
    open_ones = {i: texts[i] for i, each in marks.items() if each is None}
    if certain:
        chosen = certain.most_common(1)[0][0]
        wrong = {
            i: f"has another decimal mark than other rows ({chosen})"
            for i, each in marks.items()
            if each and each != chosen
        }
        return chosen, wrong, []
    if not open_ones:
        return ".", {}, []
    kinds = {"," if "," in each.core else "." for each in open_ones.values()}
    ambiguous = dict.fromkeys(open_ones, AMBIGUOUS)
    if len(kinds) > 1:
        return ".", ambiguous, []
    (kind,) = kinds
    if kind == "." and separator == "," and mark is None:
        return ".", {}, []  # as programs write numbers
    # In a file with commas between fields, a comma in quotes usually groups thousands.
    usual = mark or ("." if separator == "," else None)
    plausible = [each for each in (".", ",") if _plausible(column, list(texts.values()), each)]
    if usual is not None and (usual in plausible or not plausible):
        return usual, {}, []
    if len(plausible) != 1 or mark is not None:
        return ".", ambiguous, []
    how = "groups thousands" if plausible[0] != kind else "is the decimal mark"
    named = "comma" if kind == "," else "point"
    return plausible[0], {}, [f"the {named} {how}, which fits the column's range and cuts"]


def _plausible(column: OrdinalColumn, texts: Sequence[_Text], mark: str) -> bool:
    """Return True if numbers lie within a column's range, and not all in an outermost bin."""
    values = [_value(each, mark) for each in texts]
    numbers = [each for each in values if each is not None]
    if not numbers or not all(column.minimum <= each <= column.maximum for each in numbers):
        return False
    return max(numbers) >= column.cuts[0] and min(numbers) < column.cuts[-1]


@cache
def _groups(mark: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((each, pattern) for each, pattern in _GROUPS.items() if each != mark)


def _value(text: _Text, mark: str) -> float | None:
    whole, _, decimals = text.core.partition(mark)
    if not whole.isdecimal():
        group = next((g for g, pattern in _groups(mark) if pattern.fullmatch(whole)), None)
        if group is None and whole:
            return None
        whole = whole.replace(group, "") if group else "0"
    if not (decimals.isdecimal() or not decimals) or not (whole.isascii() and decimals.isascii()):
        return None
    number = float(f"{whole}.{decimals or 0}{text.exponent}")
    if not isfinite(number):
        return None
    return -number if text.negative else number


def _mark_notes(texts: Sequence[_Text], mark: str) -> list[str]:
    """Return clauses on the marks within numbers."""
    notes = []
    if mark == "," and any("," in each.core for each in texts):
        notes.append("the comma is the decimal mark")
    other = {",": ".", ".": ","}[mark]
    grouping = [g for g in (other, " ") if any(g in each.core for each in texts)]
    if grouping:
        named = {",": "commas", ".": "points", " ": "blanks"}
        notes.append(f"{named[grouping[0]]} between thousands are left out")
    return notes


def _unit_notes(texts: Sequence[_Text]) -> list[str]:
    """Return clauses on what stands beside the numbers."""
    notes = []
    unit = next((each.unit for each in texts if each.unit), "")
    if unit == "%":
        notes.append("percentages are read as the number before the sign (13, not 0.13, for 13%)")
    elif unit:
        notes.append(f"numbers with a unit ({unit} …) are read as the number")
    if any(each.currency for each in texts):
        notes.append("currency signs are left out")
    if any(each.open_ended and not each.under_one for each in texts):
        notes.append("10+ is read as 10")
    if any(each.under_one for each in texts):
        notes.append("less than 1 is read as 0")
    return notes
