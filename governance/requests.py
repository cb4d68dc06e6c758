"""Requests for the use of data: immutable, signed by their requester.

The fields are those of the consent artefact of India's Account Aggregator framework (ReBIT, API
specification 1.1.3: purpose, data, consumer, frequency, data life, expiry), with the purpose as a
term of the W3C Data Privacy Vocabulary. The states of a request are in
governance/request_state.py.
"""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from governance.canonical import KEY_PATTERN, PROOF, canonical, digest, signed, signer_of
from utils.errors import InvalidRequest, NotAuthentic
from utils.strict_json import parse_json

DOMAIN = b"triseal access request 1\n"
LARGEST_REQUEST = 64 * 1024
"""Bytes of a signed request in JSON."""
LARGEST_COMPUTATION = 16 * 1024
"""Bytes of a computation in canonical JSON."""
MOST_FIELDS = 256
MOST_READERS = 64
MOST_USES = 10_000
LONGEST_RETENTION_DAYS = 3650

Action = Literal["decide", "explain", "statistic", "release"]
Run = Literal["reasons"]
"""A program whose action is named after another program."""
Period = Literal["hour", "day", "month"]
SECONDS_OF: dict[Period, int] = {"hour": 3600, "day": 24 * 3600, "month": 30 * 24 * 3600}
"""Lengths of the periods in seconds; a month counts as 30 days."""

Name = Annotated[str, Field(min_length=1, max_length=64)]
Hex128 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
PublicKey = Annotated[str, Field(pattern=KEY_PATTERN)]
Moment = Annotated[int, Field(ge=0, lt=2**40)]
"""Seconds since 1970."""


class Part(BaseModel):
    """Base class of the parts of a request: immutable, of exact types, without other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Requester(Part):
    """A requester: a name for people, and the long-lived public key (Ed25519) in hexadecimal."""

    name: Name
    key: PublicKey


class Uses(Part):
    """The number of uses: in all if `period` is None, and otherwise in any such period."""

    count: Annotated[int, Field(ge=1, le=MOST_USES)] = 1
    period: Period | None = None

    def within(self, other: Uses) -> bool:
        """Return True if these uses never exceed the others, whenever they happen."""
        if self.count > other.count:
            return False
        if self.period is None or other.period is None:
            return self.period is None
        return SECONDS_OF[self.period] >= SECONDS_OF[other.period]


class AccessRequest(Part):
    """A requester's request to an owner of data.

    `target` is the id of a data set or of an application, `computation` is an object that
    governance/computations.py understands, `readers` are those who learn the result, and
    `retention_days` is how long they may keep it.
    """

    id: Hex128
    requester: Requester
    owner: Name
    action: Action
    target: Name
    fields: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_FIELDS, strict=False)]
    purpose: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,15}:[A-Za-z0-9]{1,64}$")]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    computation: dict[str, JsonValue] | None = None
    readers: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_READERS, strict=False)]
    created: Moment
    not_after: Moment
    uses: Uses = Uses()
    retention_days: Annotated[int, Field(ge=0, le=LONGEST_RETENTION_DAYS)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name in ("fields", "readers"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: name each one once")
        if self.not_after <= self.created:
            raise ValueError("not_after: choose a time after the request was made")
        if self.computation is not None:
            size = len(canonical(self.computation))
            if size > LARGEST_COMPUTATION:
                raise ValueError(f"computation: at most {LARGEST_COMPUTATION} bytes")
        canonical(self.document())
        return self

    def document(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical JSON, which names the request in receipts and permits."""
        return digest(self.document())


class SignedRequest(Part):
    """A request with its requester's signature; create it with `sign` or `parse`."""

    request: AccessRequest
    proof: dict[str, str]

    @classmethod
    def sign(cls, request: AccessRequest, key: Ed25519PrivateKey) -> Self:
        """Sign a request with the key that it names; raises InvalidRequest for another key."""
        document = signed(key, DOMAIN, request.document())
        if document[PROOF]["key"] != request.requester.key:
            raise InvalidRequest("requester: sign with the key that the request names.")
        return cls(request=request, proof=document[PROOF])

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a signed request from JSON.

        Raises InvalidRequest if it is too large or malformed, and NotAuthentic if it is not signed
        by the key that it names. Whose key that is, the caller has to know.
        """
        if len(data) > LARGEST_REQUEST:
            raise InvalidRequest(f"A request may have at most {LARGEST_REQUEST} bytes; shorten it.")
        try:
            document = parse_json(data)
        except ValueError as error:
            raise InvalidRequest(f"The request is not valid JSON: {error}.") from error
        if not isinstance(document, dict):
            raise InvalidRequest("The request must be a JSON object.")
        content = {name: value for name, value in document.items() if name != PROOF}
        try:
            request = AccessRequest.model_validate_json(json.dumps(content))
        except ValidationError as error:
            raise InvalidRequest(f"The request is not valid: {_faults(error)}.") from None
        # What was signed is compared with what was understood, so that nothing is left out.
        if request.document() != content or signer_of(DOMAIN, document) != request.requester.key:
            raise NotAuthentic(
                f"The request is not signed by the key of {request.requester.name} that it names, "
                "or was altered afterwards; ask for a new one."
            )
        return cls(request=request, proof=document[PROOF])

    def to_bytes(self) -> bytes:
        """Return the signed request in canonical JSON, as `parse` reads it."""
        return canonical({**self.request.document(), PROOF: self.proof})


def new_request_id() -> str:
    """Return a new id: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


def _faults(error: ValidationError) -> str:
    """Return the fields that are not valid and why, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'request'}: {fault['msg']}"
        for fault in error.errors(include_input=False)[:5]
    )
