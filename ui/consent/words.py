"""Requests, columns and masks in plain words, as text that is not escaped yet."""

from __future__ import annotations

from datetime import UTC, datetime

from governance.access import PARTNER_TYPES, PartnerType
from governance.categories import CATEGORIES, UNCLASSIFIED
from governance.computations import computation_of, in_words
from governance.datasets import Column, Type
from governance.policy import ROWS
from governance.purposes import PURPOSES, purpose_words
from governance.request_state import Status
from governance.requests import AccessRequest, Action
from parties.governance.views import RequestView, SessionStatus
from parties.joint.identities import shown
from ui.units import join_words
from utils.strict_json import parse_json

STATUS_WORDS: dict[Status, str] = {
    "pending": "waiting for the owner",
    "approved": "approved",
    "active": "active",
    "paused": "paused",
    "denied": "denied",
    "revoked": "revoked",
    "expired": "expired",
    "used up": "used up",
}
SESSION_WORDS: dict[SessionStatus, str] = {
    "waiting": "nobody has connected yet",
    "connected": "connected",
    "closed": "ended",
    "expired": "expired",
}
ACTION_CHOICES: dict[Action, str] = {
    "statistic": "A statistic",
    "release": "The fields themselves, masked",
    "decide": "An encrypted decision",
    "explain": "The explanation of a decision",
}
ACTION_WORDS: dict[Action, str] = {
    "statistic": "statistic",
    "release": "masked fields",
    "decide": "encrypted decision",
    "explain": "explanation of a decision",
}
_COLUMN_TYPES: dict[Type, str] = {
    "text": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "yes or no",
    "date": "date",
    "category": "one of a few values",
}
_TYPES = {name: name.replace("_", " ") for name in PARTNER_TYPES}
_MASKS = {
    "clear": "as it is",
    "redact": "blacked out",
    "partial": "only the last characters",
    "token": "replaced by a code that only this requester sees",
    "band": "only a range",
    "hash": "replaced by a salted hash",
    "drop": "left out",
}


def moment(seconds: float) -> str:
    """Return a time, given in seconds since 1970, as in `2027-03-01 14:05 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def key_print(key: str | None) -> str:
    """Return the fingerprint of a public key in hexadecimal; empty without a key."""
    return shown(bytes.fromhex(key)) if key else ""


def type_words(kind: PartnerType | None) -> str:
    """Return the type of a partner in words."""
    return _TYPES[kind] if kind else "type not known"


def purpose_choices() -> list[tuple[str, str]]:
    """Return the purposes as choices: words and term, by the words."""
    return sorted((words.words, term) for term, words in PURPOSES.items())


def purpose_sentence(term: str) -> str:
    """Return the purpose of a use as words that begin with a capital letter."""
    words = purpose_words(term)
    return words[:1].upper() + words[1:]


def what_words(request: AccessRequest) -> str:
    """Return in words what is done with the data."""
    if request.action == "statistic" and request.computation is not None:
        words = in_words(computation_of(request.computation))
        return f"The {words}. Only this result leaves the owner's process."
    if request.action == "release":
        return "The fields themselves, masked as the policy says, are given to the requester."
    what = "decision" if request.action == "decide" else "explanation and its reasons"
    return (
        f"The owner's process sends the record encrypted, and agrees to the {what}. "
        "The record itself is not shown to anybody."
    )


def column_words(column: Column) -> str:
    """Return the type and the category of a column in words."""
    category = (
        "no category"
        if column.category == UNCLASSIFIED
        else category_words(column.category).removeprefix("the ")
    )
    return f"{_COLUMN_TYPES[column.type]}; {category}"


def category_words(category: str) -> str:
    """Return a category of the policy in words."""
    found = CATEGORIES.get(category)
    return found.words if found else category


def field_words(name: str, column: Column | None) -> str:
    """Return a field with its type and category in words."""
    if name == ROWS:
        return "the number of rows"
    if column is None:
        return name
    return f"{name} ({column_words(column)})"


def mask_words(mask: str) -> str:
    """Return a mask, given by its name or as JSON, in words."""
    kind = mask
    if mask.startswith("{"):
        try:
            kind = str(parse_json(mask.encode())["kind"])
        except (ValueError, KeyError, TypeError):
            return "masked"
    return _MASKS.get(kind, kind)


def readers_words(request: AccessRequest) -> str:
    """Return those who learn the result."""
    return join_words(list(request.readers))


def days_words(days: int) -> str:
    """Return how long a result may be kept."""
    if days == 0:
        return "not at all after it was read"
    return f"{days} day{'' if days == 1 else 's'}"


def is_less(request: RequestView) -> bool:
    """Return True if the owner allowed less than was asked for."""
    granted, asked = request.grant, request.request
    return granted is not None and (
        set(granted.fields) != set(asked.fields)
        or granted.uses != asked.uses
        or granted.not_after != asked.not_after
    )
