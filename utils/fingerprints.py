"""The start of a digest or key in hexadecimal, in groups of digits that people can compare."""

from __future__ import annotations

GROUP = 4


def grouped(digits: str, count: int) -> str:
    """Return the first `count` digits in groups of 4, such as `4175 cac5 3edb`."""
    return " ".join(digits[i : min(i + GROUP, count)] for i in range(0, count, GROUP))
