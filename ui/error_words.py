"""Errors in the words of the person who reads a page; the technical message is folded.

Messages of utils/errors.py are also for operators and for programs that call the server: they name
columns, settings, addresses and commands. A page shows labels in place of names. A message that is
for an operator is replaced by one sentence on what happens next, with the message itself behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from features.schema import Schema
from parties.retrying import may_pass, reason_of
from ui.units import escape
from utils.errors import (
    DataFolderInUse,
    DeploymentError,
    EngineUnavailable,
    FeatureError,
    ModelError,
    ServerBusy,
    TransportError,
    TrisealError,
)

GOES_ON = "Nothing is lost; it goes on by itself."
AGAIN = "Nothing is lost; try again in a moment."
ASK_OPERATOR = "Nothing is lost. Ask the operator of this service."
BUSY = "The service is busy."
UNREACHABLE = "The service cannot be reached."
UNEXPECTED = f"Something went wrong. {ASK_OPERATOR}"
UNEXPECTED_DETAIL = "The log of this page's process has the details."

_SETTING = re.compile(r" \(TRISEAL_[^)]*\)")
_TECHNICAL = re.compile(
    r"TRISEAL_|`|\bmake [a-z]|\bpython -m\b|https?://|(?<!\w)--[a-z]|\w/\w+\."
    r"|\b(?:[A-Z][a-z]+){1,4}(?:Error|Exception|Timeout)\b"
)
_IDENTIFIER = re.compile(r"\b[A-Za-z0-9]+_[A-Za-z0-9_]+")


@dataclass(frozen=True)
class ErrorWords:
    """A sentence for the person who reads a page, and the technical message, if it differs.

    `temporary` if the same step may succeed a little later without any other change. `columns` are
    the columns whose fields have to be corrected; the page marks them.
    """

    text: str
    technical: str = ""
    temporary: bool = False
    columns: tuple[str, ...] = ()


def is_technical(text: str) -> bool:
    """Return True if a text names a setting, a command, an address, a file or an identifier."""
    return bool(_TECHNICAL.search(text) or _IDENTIFIER.search(text))


def in_labels(text: str, schema: Schema) -> str:
    """Return a message with labels in place of the names of columns and parties."""
    names = {column.name: column.label for column in schema.columns()}
    names |= {party.name: party.label.lower() for party in schema.parties}
    # A name in lower case may be a word of the message.
    names = {
        name: label for name, label in names.items() if not name.isalpha() or name[0].isupper()
    }
    if not names:
        return text
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(rf"\b({longest_first})\b", lambda found: names[found[1]], text)


def error_words(
    error: TrisealError, schema: Schema | None = None, goes_on: bool = False
) -> ErrorWords:
    """Return an error in a person's words; `goes_on` if the step is repeated automatically.

    Without a `schema`, names in the message may be those that the person uses, such as columns of
    its own data.
    """
    message = error.message if schema is None else in_labels(error.message, schema)
    if isinstance(error, ServerBusy) or may_pass(error):
        text = BUSY if isinstance(error, ServerBusy) else UNREACHABLE
        return ErrorWords(f"{text} {GOES_ON if goes_on else AGAIN}", message, temporary=True)
    plain = _SETTING.sub("", message)
    columns = error.columns if isinstance(error, FeatureError) else ()
    if not (_TECHNICAL.search(plain) if schema is None else is_technical(plain)):
        return ErrorWords(plain, "" if plain == message else message, columns=columns)
    return ErrorWords(_general(error), message)


def text_words(text: str, schema: Schema) -> ErrorWords:
    """Return the text of an error in a person's words."""
    return error_words(TrisealError(text), schema)


def waiting_words_html(text: str, busy: bool, schema: Schema) -> str:
    """Return that a call is repeated; `text` has the reason and the time of the next attempt.

    The time is left out: it would change every second, and fold an unfolded reason again.
    """
    reason = in_labels(reason_of(text), schema)
    words = ErrorWords(f"{BUSY if busy else UNREACHABLE} {GOES_ON}", reason)
    return words_html(words, "ts-stale", "status")


def words_html(words: ErrorWords, kind: str = "ts-stale ts-told", role: str = "alert") -> str:
    """Return an error as HTML, with the technical message folded; it marks the fields concerned."""
    folded = folded_html("Technical details", escape(words.technical)) if words.technical else ""
    # Inside the box of a field: the outlines of neighbours would touch, or be cut off.
    marked = ", ".join(
        f"#field-{name} :is(.wrap, input:not([role])):not(:focus-visible)" for name in words.columns
    )
    style = (
        f"<style>{marked} {{ outline: 2px solid var(--ts-warn) !important; outline-offset: -2px; "
        "border-radius: 4px; }}</style>"
        if marked
        else ""
    )
    return f'<p class="{kind}" role="{role}">{escape(words.text)}</p>{folded}{style}'


def folded_html(title: str, text: str) -> str:
    """Return HTML text that only the person who runs the processes needs, folded."""
    return (
        f'<details class="ts-technical"><summary>{escape(title)}</summary><p>{text}</p></details>'
    )


def _general(error: TrisealError) -> str:
    if isinstance(error, TransportError):
        return f"{UNREACHABLE} {ASK_OPERATOR}"
    if isinstance(error, DataFolderInUse):
        return "Another program on this machine has this application open. Close it, and try again."
    if isinstance(error, EngineUnavailable | DeploymentError | ModelError):
        return f"The service is not ready for this step. {ASK_OPERATOR}"
    return f"This step is not possible now. {ASK_OPERATOR}"
