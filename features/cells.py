"""The text of a CSV field as a value of a column: numbers, yes or no, and categories."""

from __future__ import annotations

import re
from typing import Any

from features.schema import BooleanColumn, CategoricalColumn, Column

TRUE_WORDS = frozenset({"1", "1.0", "true", "t", "yes", "y"})
FALSE_WORDS = frozenset({"0", "0.0", "false", "f", "no", "n"})
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 64


def cell_value(column: Column, text: str) -> Any:
    """Return the value of a field, or None for an empty one; raises ValueError.

    The value's domain is not checked; features.encoding does that. Categories are kept verbatim.
    """
    if not text:
        return None
    if isinstance(column, CategoricalColumn):
        return text
    if isinstance(column, BooleanColumn):
        return cell_boolean(text)
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text.strip()):
        raise ValueError("not a number")
    return float(text)


def cell_boolean(text: str) -> bool:
    """Return yes or no, in any of the usual spellings; raises ValueError."""
    word = text.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError("neither yes nor no")
    return word in TRUE_WORDS
