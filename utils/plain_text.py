"""Text of strangers that people decide by: nothing hidden in it, and nothing that reorders it."""

from __future__ import annotations

import unicodedata

from utils.errors import InvalidRequest

_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Needed to write some languages, and for emoji."""


def require_plain(text: str, where: str, most_lines: int = 1) -> None:
    """Raise InvalidRequest, naming `where`, unless people see a text as it is.

    Refuses characters of the Unicode categories for control, format and private use, with which
    text is hidden or shown in another order, and more than `most_lines` lines.
    """
    lines = text.split("\n")
    if len(lines) > most_lines:
        raise InvalidRequest(f"{where}: write at most {most_lines} line{'s' * (most_lines > 1)}.")
    for character in "".join(lines):
        if unicodedata.category(character) in _HIDDEN and character not in _JOINERS:
            raise InvalidRequest(
                f"{where}: leave out the character U+{ord(character):04X}, which is not visible or "
                "changes how the text around it is shown."
            )
