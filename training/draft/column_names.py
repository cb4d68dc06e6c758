"""Names and labels of columns, made from the headers of a file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LONGEST = 64
_LONGEST_LABEL = 80
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def folded(text: str) -> str:
    """Return the text in ASCII: letters without accents, other characters as blanks."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return "".join(c if c.isascii() else " " for c in plain)


def words(header: str) -> tuple[str, ...]:
    """Return the words of a header in lower case: `DebtRatio_2` has debt, ratio and 2."""
    return tuple(word.lower() for word in _WORD.findall(folded(header)))


def label_of(header: str) -> str:
    """Return a label for forms: `NumberOfLatePayments` becomes `Number of late payments`.

    A header with blanks, or in capitals only, is kept as it is written.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in header).split())
    if " " not in text and not (text.isupper() and "_" not in text):
        parts = [part for part in re.split(r"[_\s.\-]+", text) if part]
        split = [w for part in parts for w in (_WORD.findall(part) if part.isascii() else [part])]
        kept = [
            w if w.isupper() and len(w) > 1 and not text.isupper() else w.lower() for w in split
        ]
        text = " ".join(kept)
    text = text[:1].upper() + text[1:]
    return text[:_LONGEST_LABEL].strip() or "Column"


def schema_names(headers: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return a name of a schema for each header: unique, in ASCII, also apart from its case."""
    used = {name.lower() for name in taken}
    names = []
    for header in headers:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", folded(header)).strip("_") or "column"
        if not name[0].isalpha():
            name = f"c_{name}"
        unique, number = name[:_LONGEST], 2
        while unique.lower() in used:
            unique = f"{name[: _LONGEST - 5]}_{number}"
            number += 1
        used.add(unique.lower())
        names.append(unique)
    return names
