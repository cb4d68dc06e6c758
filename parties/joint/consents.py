"""A party's consent to a program on encrypted records: what it was asked, and its signed receipt.

Nobody signs a request for a decision among parties; each party states it for itself, as what its
person agreed to: the application, the party's columns, who reads the result, the program, and the
digests of the records and of the public key. The receipt (governance/receipts.py) names the digest
of that request. It is signed once for each agreement, with the key of the party's permits.

The policy that a receipt names is the one that is installed with the party's own process. Nothing
that the server says about its policy is signed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from engines.interface import DECIDE, EXPLAIN, REASONS
from features.schema import Schema
from governance.canonical import canonical
from governance.permits import Use
from governance.policy_texts import shipped_policy
from governance.receipts import Allowed, ReceiptEvent
from governance.request_state import Grant
from governance.requests import LONGEST_RETENTION_DAYS, AccessRequest, Requester, Uses
from utils.errors import MalformedMessage
from utils.strict_json import parse_json

PURPOSE = "dpv:CreditChecking"
JURISDICTION = "loc:EU"
_DONE = {
    DECIDE: "a decision is made",
    EXPLAIN: "a decision is explained",
    REASONS: "the reasons for a decision are computed",
}


@dataclass(frozen=True)
class Terms:
    """The facts of an agreement beside the use itself.

    `readers` learn the result, `keys` are the parties' public identity keys, `hours` is how long
    the party's process keeps files of an application, and `ends` when this one ends, in seconds
    since 1970.
    """

    schema: Schema
    readers: tuple[str, ...]
    keys: Mapping[str, bytes]
    hours: float
    ends: float


@dataclass(frozen=True)
class Consent:
    """A request as the party understood it and its signed receipt, as JSON objects."""

    request: Mapping[str, Any]
    receipt: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the consent for the party's own file."""
        return canonical({"receipt": self.receipt, "request": self.request})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a consent from the party's own file; raises MalformedMessage."""
        try:
            found = parse_json(data)
            return cls(found["request"], found["receipt"])
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedMessage(
                "The file of the party's consent is damaged; open a new application."
            ) from error


def allowed_by(use: Use, terms: Terms, now: float) -> Allowed:
    """Return what a person allows who agrees to a use now, in seconds since 1970."""
    created = int(now)
    ends = max(int(terms.ends), created + 1)
    controller = _controller(terms)
    title = terms.schema.title
    request = AccessRequest(
        id=use.sub,
        requester=Requester(name=controller, key=terms.keys[controller].hex()),
        owner=use.iss,
        action=use.action,
        target=use.sub,
        fields=use.fields,
        purpose=PURPOSE,
        reason=f"{title}: {_DONE[use.evaluates]} on encrypted records.",
        computation={
            "inputs": dict(use.inputs or {}),
            "model": use.program,
            "program": use.evaluates,
        },
        readers=terms.readers,
        created=created,
        not_after=ends,
        uses=Uses(count=1),
        retention_days=min(math.ceil(terms.hours / 24), LONGEST_RETENTION_DAYS),
    )
    policy = shipped_policy()
    return Allowed(
        request=request,
        grant=Grant.whole(request),
        policy_version=policy.version,
        principal=f"{terms.schema.party_names[0]} of application {use.sub}",
        controller=controller,
        categories=policy.categories_of(terms.schema.name, use.fields),
        jurisdiction=JURISDICTION,
        events=[ReceiptEvent("approved", created, use.iss)],
        retention=f"PT{round(terms.hours * 3600)}S",
        run=use.run,
    )


def _controller(terms: Terms) -> str:
    """Return the institution that learns the result: the first reader after the applicant."""
    applicant = terms.schema.party_names[0]
    return next((name for name in terms.readers if name != applicant), applicant)
