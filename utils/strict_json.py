"""Strict parsing of hand-written JSON, which never drops anything silently."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: bytes) -> Any:
    """Decode a JSON document in UTF-8, with or without a byte order mark.

    Raises ValueError for invalid JSON, including NaN and Infinity, and for a name that occurs twice
    in one object, of which `json.loads` would keep the last value.
    """
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        if _ends_with_comma(error):
            raise ValueError(
                f"a comma follows the last entry before line {error.lineno} column {error.colno}; "
                "remove it"
            ) from error
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _ends_with_comma(error: json.JSONDecodeError) -> bool:
    """Return True for a comma before the end of an object or array: Python's words vary."""
    at_syntax = error.msg.startswith(("Expecting", "Illegal trailing comma"))
    before = error.doc[: error.pos + 1].rstrip("]} \t\r\n")
    after = error.doc[error.pos :].lstrip(", \t\r\n")
    return at_syntax and before.endswith(",") and after[:1] in ("]", "}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} occurs twice in one object; keep one of the two")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
