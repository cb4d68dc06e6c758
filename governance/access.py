"""One use of data as the policy sees it, and the policy's verdict on it."""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from governance.categories import CATEGORIES, FieldName, SchemaName
from governance.obligations import MOST_DAYS, Obligations
from governance.purposes import PURPOSES, purpose_words
from utils.errors import InvalidRequest
from utils.strict_json import parse_json

Action = Literal["decide", "explain", "statistic", "release"]
ACTIONS: tuple[Action, ...] = get_args(Action)
ACTION_WORDS: dict[Action, str] = {
    "decide": "make a decision from",
    "explain": "have a decision explained from",
    "statistic": "have a statistic computed from",
    "release": "receive",
}
PartnerType = Literal[
    "bank", "credit_agency", "employer", "insurer", "merchant", "public_authority", "researcher"
]
PARTNER_TYPES: tuple[PartnerType, ...] = get_args(PartnerType)
Consent = Literal["asked", "given", "denied", "paused", "revoked", "expired"]
MOST_ASKED_FIELDS = 64
MOST_BYTES = 64 * 1024
"""Most bytes of a use in JSON."""
SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86_400

PartnerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
Count = Annotated[int, Field(ge=0, le=10**9, strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Partner(_Model):
    """The requester. `verified` is True only if it has proved that it holds its registered key."""

    id: PartnerId
    type: PartnerType
    verified: bool = Field(strict=True)


class Access(_Model):
    """A use that is asked for, in its context.

    `categories` are those of fields that the schema's file does not name. They must come from the
    owner's description of the data set, never from the requester. A statistic without fields asks
    for the number of rows. `time` is in seconds since 1970; hours and days are those of UTC, and
    the uses are counted in the current ones.
    """

    partner: Partner
    action: Action
    data_set: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")
    schema_name: SchemaName
    fields: tuple[FieldName, ...] = Field(max_length=MOST_ASKED_FIELDS)
    categories: dict[FieldName, str] = Field(default_factory=dict, max_length=MOST_ASKED_FIELDS)
    purpose: str
    consent: Consent
    time: int = Field(ge=0, le=253_402_300_799, strict=True)
    uses_this_hour: Count = 0
    uses_this_day: Count = 0
    rows: Count = 1
    retention_days: int = Field(default=0, ge=0, le=MOST_DAYS, strict=True)

    @field_validator("purpose")
    @classmethod
    def _known_purpose(cls, purpose: str) -> str:
        if purpose not in PURPOSES:
            raise ValueError(f"the purpose must be one of {', '.join(PURPOSES)}")
        return purpose

    @field_validator("fields")
    @classmethod
    def _distinct(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(fields)) < len(fields):
            raise ValueError("a field occurs twice")
        return fields

    @field_validator("categories")
    @classmethod
    def _known_categories(cls, categories: dict[str, str]) -> dict[str, str]:
        if not set(categories.values()) <= set(CATEGORIES):
            raise ValueError(f"a category must be one of {', '.join(CATEGORIES)}")
        return categories


class WouldAllow(_Model):
    """Uses that the policy would allow instead, each found by asking it again.

    `fields` are as many of the fields asked for as are allowed together, for the same purpose and
    action. `purposes` and `actions` are others that are allowed for all fields.
    `needs_consent` means that all this holds once the owner consents. `retention_days` and
    `least_rows` are set if the use asked for more days or fewer rows. `after_seconds` is set if a
    rate is used up, and tells when it no longer is.
    """

    fields: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    needs_consent: bool = False
    retention_days: int | None = None
    least_rows: int | None = None
    after_seconds: int | None = None

    def in_words(self) -> str:
        """Return one sentence."""
        parts = []
        if self.fields:
            parts.append(f"the fields {listed(self.fields)}")
        if self.purposes:
            parts.append(f"these fields {listed([purpose_words(p) for p in self.purposes], 'or')}")
        if self.actions:
            parts.append(f"the actions {listed(self.actions)}")
        if not parts:
            return "Nothing of this would be allowed instead."
        text = f"Allowed instead: {'; '.join(parts)}"
        if self.needs_consent:
            text += ", once the owner consents"
        if self.retention_days is not None:
            text += f", kept for at most {self.retention_days} days"
        if self.least_rows is not None:
            text += f", about at least {self.least_rows} rows"
        if self.after_seconds is not None:
            text += f", in {self.after_seconds} seconds"
        return f"{text}."


class Verdict(_Model):
    """The policy's decision. `rules` are the ids of the rules that decided.

    `obligations` is None unless the use is allowed, and `would_allow` unless it is denied.
    `awaits_consent` means that the use is denied, but would be allowed as it is if the owner, who
    has been asked, consents: the request may then be shown to the owner.
    """

    allowed: bool
    rules: tuple[str, ...]
    reason: str
    policy_version: str
    obligations: Obligations | None = None
    would_allow: WouldAllow | None = None
    awaits_consent: bool = False

    def in_words(self) -> str:
        """Return the decision, its reason, the rules, and what would be allowed instead."""
        text = "Allowed" if self.allowed else "Denied"
        text += f" by {listed(self.rules)}: {self.reason}"
        return text if self.would_allow is None else f"{text} {self.would_allow.in_words()}"


def read_access(data: bytes) -> Access:
    """Return a use from JSON; raises InvalidRequest naming the member that is wrong."""
    if len(data) > MOST_BYTES:
        raise InvalidRequest(f"The use has more than {MOST_BYTES} bytes; ask for fewer fields.")
    try:
        value = parse_json(data)
        return Access.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"]) or "the whole"
        raise InvalidRequest(
            f"The use cannot be judged: {where[:120]}: {first['msg'][:1000]}."
        ) from error
    except ValueError as error:
        raise InvalidRequest(f"The use is not valid JSON: {error}.") from error


def listed(names: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Return `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
