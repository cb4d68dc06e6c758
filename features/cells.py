"""The words of data files: missing values, yes and no, and headers and texts in other spellings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MISSING_WORDS = frozenset(
    {
        *("", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "none", "\\n", "?", "-"),
        *("--", ".", "#null!", "(null)"),
    }
)
"""Texts for a missing value, in lower case: of R, SAS, Excel, pandas, SQL and UCI."""
TRUE_WORDS = frozenset(
    {
        *("1", "1.0", "true", "t", "yes", "y", "on", "j", "ja", "wahr", "o", "oui", "vrai"),
        *("s", "sí", "si", "sì", "sim", "verdadero", "vero", "tak"),
    }
)
FALSE_WORDS = frozenset(
    {
        *("0", "0.0", "false", "f", "no", "n", "off", "nein", "nee", "nej", "falsch", "non"),
        *("faux", "não", "nao", "falso", "nie"),
    }
)
_WHOLE = re.compile(r"[+-]?[0-9]+\.0+")


def is_missing(text: str) -> bool:
    """Return True for an empty text and for the usual words for a missing value."""
    return text.strip().casefold() in MISSING_WORDS


def word(text: str) -> str:
    """Return a text without the differences that carry no meaning in words and numbers.

    These are case, surrounding blanks and single quotes, and the zeros after the point of a whole
    number.
    """
    plain = unicodedata.normalize("NFC", text).strip().casefold()
    if len(plain) > 2 and plain[0] == plain[-1] == "'":
        plain = plain[1:-1].strip()
    return plain.partition(".")[0] if _WHOLE.fullmatch(plain) else plain


def yes_or_no(text: str) -> bool | None:
    """Return the meaning of a usual spelling of yes or no, or None for another text."""
    plain = unicodedata.normalize("NFC", text).strip().casefold()
    if plain in TRUE_WORDS:
        return True
    return False if plain in FALSE_WORDS else None


def plain_name(header: str) -> str:
    """Return a header in lower case, without accents, and with `_` for other characters."""
    letters = unicodedata.normalize("NFKD", header.replace("ß", "ss").replace("ø", "o"))
    ascii_only = "".join(each for each in letters if not unicodedata.combining(each))
    return re.sub(r"[^0-9a-z]+", "_", ascii_only.casefold()).strip("_")


def only(found: Iterable[str]) -> str | None:
    """Return the only distinct element, or None if there is none or more than one."""
    distinct = set(found)
    return distinct.pop() if len(distinct) == 1 else None
