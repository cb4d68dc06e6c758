"""Masks: how the fields of a record are changed before a partner receives them.

| mask | released instead of the value |
|---|---|
| clear | the value itself, where the policy explicitly says so |
| redact | a constant text |
| partial | the last characters (four by default), if the value is at least twice as long |
| token | HMAC-SHA-256 (RFC 2104) under the owner's key, of partner, field and value |
| band | the band that contains a number, or the age on a day for a date of birth |
| hash | SHA-256 of a random salt and the value, with the salt |
| drop | nothing: the field is absent |

A token is stable for one partner, so that the partner recognises a value that it received before.
Tokens of two partners, or of two fields, are unrelated, so that partners cannot join their tables
by them. Without the owner's key a token cannot be computed from a guessed value.

A hash has no key: whoever receives it can try values. It hides nothing of a field with few
possible values, such as a date, a telephone number or a postcode. Use a token there.

A missing value (None) stays missing under `clear`, `partial`, `token`, `band` and `hash`.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from utils.errors import DataSetInvalid, PolicyDenied

Value = str | int | float | bool | None

OWNER_KEY_BYTES = 32
SALT_BYTES = 16
REDACTED = "[redacted]"
HIDDEN = "••••"
LONGEST_VALUE = 10_000
"""Most characters of a value that is masked."""
_TOKEN_DIGITS = 32
_TOKEN_DOMAIN = b"triseal masking token 1\n"


class _Mask(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Clear(_Mask):
    """The value is released as it is."""

    kind: Literal["clear"] = "clear"


class Redact(_Mask):
    """The value is replaced by a constant text, also if it is missing."""

    kind: Literal["redact"] = "redact"


class Partial(_Mask):
    """The last characters are released, if at least as many others stay hidden."""

    kind: Literal["partial"] = "partial"
    last: int = Field(default=4, ge=1, le=4, strict=True)


class Token(_Mask):
    """The value is replaced by a keyed token, stable for one partner and field."""

    kind: Literal["token"] = "token"


class Band(_Mask):
    """A number is replaced by its band between the public `cuts`: 18, 25 give `18–24`.

    `of` is `number`, or `birth_date` for the age in years that follows from an ISO 8601 date.
    """

    kind: Literal["band"] = "band"
    cuts: tuple[Annotated[int, Field(ge=-(10**12), le=10**12, strict=True)], ...] = Field(
        min_length=1, max_length=64
    )
    of: Literal["number", "birth_date"] = "number"

    @field_validator("cuts")
    @classmethod
    def _rising(cls, cuts: tuple[int, ...]) -> tuple[int, ...]:
        if any(a >= b for a, b in pairwise(cuts)):
            raise ValueError("the cut points must rise strictly")
        return cuts


class Hash(_Mask):
    """The value is replaced by a salted SHA-256, which is guessed if few values are possible."""

    kind: Literal["hash"] = "hash"


class Drop(_Mask):
    """The field is left out of the released record."""

    kind: Literal["drop"] = "drop"


Mask = Annotated[Clear | Redact | Partial | Token | Band | Hash | Drop, Field(discriminator="kind")]
_BY_STRICTNESS = ("clear", "band", "partial", "hash", "token", "redact", "drop")


def stricter(one: Mask, other: Mask) -> Mask:
    """Return the mask of the two that releases less.

    The order is clear, band, partial, hash, token, redact, drop. Of two bands it is the one with
    fewer cut points, of two partial masks the one with fewer characters.
    """
    return max(one, other, key=_strictness)


def _strictness(mask: Mask) -> tuple[int, int]:
    rank = _BY_STRICTNESS.index(mask.kind)
    if isinstance(mask, Band):
        return rank, -len(mask.cuts)
    return rank, -mask.last if isinstance(mask, Partial) else 0


def mask(
    record: Mapping[str, Value],
    masks: Mapping[str, Mask],
    owner_key: bytes,
    partner: str,
    *,
    today: date | None = None,
    salt: bytes | None = None,
) -> dict[str, Value]:
    """Return the record for a partner, in which every field has passed through its mask.

    `owner_key` has at least 32 bytes. `today` is needed for a band of a date of birth. `salt` of
    at least 16 bytes is fresh from the operating system unless it is given. Raises PolicyDenied
    for a field without a mask, and DataSetInvalid, without the value, if a mask does not fit.
    """
    if len(owner_key) < OWNER_KEY_BYTES:
        raise DataSetInvalid(
            f"The owner's masking key has {len(owner_key)} bytes; use {OWNER_KEY_BYTES} random "
            "bytes from the operating system."
        )
    if not partner:
        raise PolicyDenied("A record is released only to a named partner; name the partner.")
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    if len(salt) < SALT_BYTES:
        raise DataSetInvalid(f"The salt of a hash needs at least {SALT_BYTES} random bytes.")
    unmasked = [name for name in record if name not in masks]
    if unmasked:
        raise PolicyDenied(
            f"No rule says how to mask the field {unmasked[0][:64]}, so that nothing was released. "
            "Leave the field out, or give it a mask in the policy (`clear` releases it as it is)."
        )
    released: dict[str, Value] = {}
    for name, value in record.items():
        _require_scalar(name, value)
        match masks[name]:
            case Drop():
                continue
            case Redact():
                released[name] = REDACTED
            case Clear():
                released[name] = value
            case _ if value is None:
                released[name] = None
            case Partial(last=last):
                released[name] = partial(value_text(value), last)
            case Token():
                released[name] = token(value, name, owner_key, partner)
            case Band() as band:
                released[name] = band_of(_number(name, value, band, today), band.cuts)
            case Hash():
                released[name] = salted_hash(value, salt)
    return released


def partial(text: str, last: int) -> str:
    """Return the last characters after a constant text that hides the others and their number."""
    shown = HIDDEN + text[-last:]
    # A short value would be mostly shown, and one that begins like HIDDEN entirely.
    return REDACTED if len(text) < 2 * last or text in shown else shown


def token(value: Value, field: str, owner_key: bytes, partner: str) -> str:
    """Return the token of a value: 128 bits in hexadecimal."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (partner, field, value_text(value))]
    message = _TOKEN_DOMAIN + b"".join(len(p).to_bytes(8, "big") + p for p in parts)
    digits = hmac.digest(owner_key, message, "sha256").hex()[:_TOKEN_DIGITS]
    return f"token:{digits}"


def salted_hash(value: Value, salt: bytes) -> str:
    """Return `sha256:<salt>:<digest>`, both in hexadecimal, of the salt followed by the value."""
    text = value_text(value).encode("utf-8", "surrogatepass")
    return f"sha256:{salt.hex()}:{hashlib.sha256(salt + text).hexdigest()}"


def band_of(number: float, cuts: tuple[int, ...]) -> str:
    """Return the band of a number in whole units: `under 18`, `18–24`, `65 or more`."""
    position = bisect_right(cuts, number)
    if position == 0:
        return f"under {cuts[0]:,}"
    low = cuts[position - 1]
    if position == len(cuts):
        return f"{low:,} or more"
    high = cuts[position] - 1
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def age_on(born: date, today: date) -> int:
    """Return the age in completed years; a person born on 29 February ages on 1 March."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def value_text(value: Value) -> str:
    """Return a value as text: the same for a number from CSV and from JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _require_scalar(name: str, value: object) -> None:
    fits = value is None or isinstance(value, str | int | float)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise DataSetInvalid(
            f"The field {name[:64]} is not a text, a number, true, false or null; a record has one "
            "value for each field."
        )
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        raise DataSetInvalid(
            f"The field {name[:64]} has {len(value)} characters; the most are {LONGEST_VALUE}."
        )


def _number(name: str, value: Value, band: Band, today: date | None) -> float:
    if band.of == "birth_date":
        if today is None:
            raise DataSetInvalid(f"The age band of {name[:64]} needs the current day.")
        try:
            born = date.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            born = None
        if born is None or born > today:
            raise DataSetInvalid(
                f"The field {name[:64]} must be a date of birth such as 1990-05-31 to become a "
                "band; correct the record, or use the mask redact."
            )
        return age_on(born, today)
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DataSetInvalid(
            f"The field {name[:64]} must be a number to become a band; correct the record, or use "
            "the mask redact."
        )
    return number
