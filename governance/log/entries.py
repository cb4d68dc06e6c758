"""Entries of the log: what happened and when, by digests and pseudonyms only.

An entry is canonical JSON (governance/canonical.py), and its bytes are a leaf of the Merkle tree.
It does not contain its own number, so that it can be made before its place is known:

    {"details": "<SHA-256 of the sealed details>" or null,
     "digests": {"permit": ["<SHA-256>", ...], "request": ["<SHA-256>"], ...},
     "kind": "use",
     "outcome": "done" or null,
     "pseudonyms": {"owner": ["<HMAC-SHA-256>"], ...},
     "time": "2026-11-29T06:28:00Z"}

Digests have the lists in ascending order. The digest of a request, a receipt or a policy is that of
its canonical JSON, with its `proof`; of a permit, of its text; of a witness's statement, of the
bytes that the witness signed; of a program and a result, of what the permit and the statement name.
`time` is in UTC and whole seconds; of a use, it is when the permit was accepted.

A pseudonym is an HMAC (RFC 2104) under a key of this log, so that two logs of the same people
cannot be joined, and under a salt of the person, which is destroyed with the person's key
(governance/log/personal_details.py): afterwards not even the log's key shows whose entry it was.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, Self, get_args

from governance.canonical import canonical
from governance.log.merkle import leaf_hash
from utils.errors import ProofInvalid
from utils.strict_json import parse_json

Kind = Literal[
    "request",
    "decision",
    "answer",
    "permit",
    "use",
    "statement",
    "revocation",
    "erasure",
    "policy_change",
    "checkpoint",
]
"""The event; `decision` is the policy's, `answer` the owner's, `statement` a witness's."""
Outcome = Literal["allowed", "denied", "reduced", "paused", "resumed", "done", "failed"]
"""The event's outcome; `reduced` is an approval of less than was asked for."""
Role = Literal["owner", "requester", "operator", "person"]

KINDS: tuple[str, ...] = get_args(Kind)
OUTCOMES: tuple[str, ...] = get_args(Outcome)
DIGESTS: tuple[str, ...] = (
    *("answer", "checkpoint", "permit", "policy", "program", "receipt", "request", "result"),
    "statement",
)
"""The documents whose digests an entry may have."""
ROLES: tuple[str, ...] = get_args(Role)
LARGEST_ENTRY = 8 * 1024
"""Bytes of the largest entry."""
MOST_IN_A_LIST = 8
"""Digests or pseudonyms of one kind: one for each party."""
KEY_BYTES = 32
_NAMES = {"details", "digests", "kind", "outcome", "pseudonyms", "time"}
_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DOMAIN = b"triseal log pseudonym 1\n"


@dataclass(frozen=True)
class Entry:
    """One entry; create it with `made` or `parse`, which check it.

    Digests and pseudonyms are lists of 64 hexadecimal digits in ascending order; `details` is the
    SHA-256 of sealed details.
    """

    kind: str
    time: str
    outcome: str | None = None
    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pseudonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    details: str | None = None

    @classmethod
    def made(
        cls,
        kind: Kind,
        seconds: int,
        *,
        outcome: Outcome | None = None,
        digests: Mapping[str, Iterable[str]] | None = None,
        pseudonyms: Mapping[str, Iterable[str]] | None = None,
        details: str | None = None,
    ) -> Self:
        """Return the entry of an event at a time in seconds since 1970.

        The names of digests are among DIGESTS, of pseudonyms among ROLES; empty lists are left out,
        and lists are put in order. Raises ProofInvalid.
        """
        entry = cls(
            kind=kind,
            time=time_text(seconds),
            outcome=outcome,
            digests=_ordered(digests or {}),
            pseudonyms=_ordered(pseudonyms or {}),
            details=details,
        )
        checked = cls.from_json(entry.to_json())
        _require_size(checked.to_bytes())
        return checked

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an entry, which must be canonical JSON of exactly these fields.

        Raises ProofInvalid.
        """
        _require_size(data)
        try:
            return cls.from_json(parse_json(data), data)
        except ValueError as error:
            raise _malformed(str(error)) from error

    @classmethod
    def from_json(cls, found: object, data: bytes | None = None) -> Self:
        """Return the entry of decoded JSON, whose canonical form is `data` unless that is None.

        Raises ProofInvalid.
        """
        if not isinstance(found, dict) or found.keys() != _NAMES:
            raise _malformed(f"it must have exactly {', '.join(sorted(_NAMES))}")
        entry = cls(
            kind=_one_of(found["kind"], KINDS, "kind"),
            time=_time(found["time"]),
            outcome=_outcome(found["outcome"]),
            digests=_lists(found["digests"], DIGESTS, "digests"),
            pseudonyms=_lists(found["pseudonyms"], ROLES, "pseudonyms"),
            details=None if found["details"] is None else _hex(found["details"], "details"),
        )
        if entry.to_json() != found or (data is not None and entry.to_bytes() != data):
            raise _malformed("it is not in canonical form")
        return entry

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            "details": self.details,
            "digests": {name: list(values) for name, values in self.digests.items()},
            "kind": self.kind,
            "outcome": self.outcome,
            "pseudonyms": {name: list(values) for name, values in self.pseudonyms.items()},
            "time": self.time,
        }

    def to_bytes(self) -> bytes:
        """Return the bytes that the log contains."""
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        return canonical(self.to_json())

    @property
    def leaf(self) -> bytes:
        """The hash of the entry's leaf, 32 bytes."""
        return leaf_hash(self.to_bytes())

    @property
    def seconds(self) -> int:
        """The time in seconds since 1970."""
        return int(datetime.fromisoformat(self.time).timestamp())


def pseudonym(log_key: bytes, role: Role, name: str, salt: bytes = b"") -> str:
    """Return the pseudonym of `name` in a role, 64 hexadecimal digits.

    `log_key` has 32 bytes. `salt` is that of the person's key, and empty for an institution. Raises
    ValueError for a key of another length.
    """
    if len(log_key) != KEY_BYTES:
        raise ValueError(f"the log's key for pseudonyms has {KEY_BYTES} bytes")
    fields = canonical([role, salt.hex(), name])
    return hmac.new(log_key, _DOMAIN + fields, hashlib.sha256).hexdigest()


def time_text(seconds: int) -> str:
    """Return a time in seconds since 1970 as RFC 3339 has it, in UTC; raises ProofInvalid."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise _malformed("its time is out of range") from error


def _require_size(data: bytes) -> None:
    if len(data) > LARGEST_ENTRY:
        raise ProofInvalid(f"An entry of the log has at most {LARGEST_ENTRY} bytes.")


def _ordered(lists: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    ordered = {name: tuple(sorted(values)) for name, values in lists.items()}
    return {name: values for name, values in ordered.items() if values}


def _lists(found: object, names: tuple[str, ...], what: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        raise _malformed(f"{what} must be an object")
    lists = {}
    for name, values in found.items():
        _one_of(name, names, what)
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_IN_A_LIST:
            raise _malformed(f"{what} must be lists of 1 to {MOST_IN_A_LIST}")
        lists[name] = tuple(_hex(value, what) for value in values)
        if list(lists[name]) != sorted(set(values)):
            raise _malformed(f"{what} must be in ascending order, none twice")
    return lists


def _one_of(value: object, allowed: tuple[str, ...], what: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise _malformed(f"{what} must be one of {', '.join(allowed)}")
    return value


def _outcome(value: object) -> str | None:
    return None if value is None else _one_of(value, OUTCOMES, "outcome")


def _hex(value: object, what: str) -> str:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise _malformed(f"{what} must be 64 hexadecimal digits in lower case")
    return value


def _time(value: object) -> str:
    if not isinstance(value, str) or _TIME.fullmatch(value) is None:
        raise _malformed("its time must be like 2026-11-29T06:28:00Z")
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise _malformed("its time is not in the calendar") from error
    return value


def _malformed(problem: str) -> ProofInvalid:
    return ProofInvalid(f"The log entry is malformed: {problem[:200]}. Ask the log for it again.")
