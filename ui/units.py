"""Formatting of sizes, durations, numbers and untrusted text."""

from __future__ import annotations

import html
from collections.abc import Iterable


def escape(text: object) -> str:
    """Return text escaped for HTML."""
    return html.escape(str(text))


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """Return names and values, which are escaped, as a description list."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="ts-facts">{items}</dl>'


def show_bytes(size: int) -> str:
    """Format a size in powers of ten, for example `312 B`, `4.1 kB` or `27 MB`."""
    if size < 1000:
        return f"{size} B"
    for unit, scale in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if size < scale * 1000 or unit == "GB":
            amount = size / scale
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{size} B"


def show_remaining(seconds: int) -> str:
    """Format an estimated duration in whole seconds, for example `40 s` or `3 min`."""
    return f"{max(1, seconds)} s" if seconds < 100 else f"{round(seconds / 60)} min"


def show_fetched(size: int, seconds: float) -> str:
    """Format the size of a result in bytes, and the time to fetch it unless that is unknown (0)."""
    return f"{show_bytes(size)} in {show_seconds(seconds)}" if seconds else show_bytes(size)


def show_seconds(seconds: float) -> str:
    """Format a duration, for example `0.4 ms`, `72 ms`, `1.2 s` or `3 min 5 s`."""
    if seconds < 0.00005:
        return "< 0.1 ms"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def show_number(value: float) -> str:
    """Format a signed score with a true minus sign and at most two decimals."""
    text = f"{abs(value):.2f}".rstrip("0").rstrip(".")
    return ("−" if value < 0 and text != "0" else "+" if text != "0" else "") + text


def show_hex(text: str) -> str:
    """Group hexadecimal digits by four bytes, for reading."""
    return " ".join(text[i : i + 8] for i in range(0, len(text), 8))


def join_words(words: list[str]) -> str:
    """Join words as in `a`, `a and b` or `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")


def number_word(count: int) -> str:
    """Return a small number as a capitalised word."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)
