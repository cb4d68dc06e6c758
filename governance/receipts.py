"""Consent receipts: what an owner of data allowed, signed by the owner, in JSON-LD.

The structure is that of ISO/IEC TS 27560:2023 (consent record information structure) in the terms
of the W3C Data Privacy Vocabulary, as in the vocabulary's own guide to that standard: the receipt's
metadata, the parties, the processing with its purpose, data, recipients and storage, and the events
that led to it. A receipt names the version of the policy and the digest of the signed request.

The member `proof` has the owner's public key and the Ed25519 signature over DOMAIN and the
canonical JSON of all other members (governance/canonical.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.canonical import PROOF, canonical, signed, signer_of
from governance.request_state import Grant
from governance.requests import AccessRequest, Action, Run
from utils.errors import ReceiptInvalid
from utils.strict_json import parse_json

DOMAIN = b"triseal consent receipt 1\n"
LARGEST_RECEIPT = 256 * 1024
"""Bytes of a receipt in JSON."""
CONTEXT = {
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "loc": "https://w3id.org/dpv/loc#",
    "triseal": "urn:triseal:",
}
PROCESSING: dict[Action, tuple[str, ...]] = {
    "decide": ("dpv:Assess", "dpv:AutomatedDecisionMaking"),
    "explain": ("dpv:Analyse",),
    "statistic": ("dpv:Analyse",),
    "release": ("dpv:Disclose",),
}
"""The processing that each action is, in the vocabulary's terms."""
STATUS = {
    "approved": "dpv:ConsentGiven",
    "active": "dpv:ConsentGiven",
    "paused": "dpv:ConsentInvalidated",
    "denied": "dpv:ConsentRefused",
    "revoked": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired",
}
"""The vocabulary's terms for the states of a request that a receipt can have."""
_HEX_128 = r"[0-9a-f]{32}"
_HEX_256 = r"[0-9a-f]{64}"
_PERIODS = {None: "in all", "hour": "in an hour", "day": "in a day", "month": "in 30 days"}


@dataclass(frozen=True)
class ReceiptEvent:
    """One event of the consent: its status (a key of STATUS), its time and who caused it."""

    status: str
    at: int
    by: str


@dataclass(frozen=True)
class Allowed:
    """The use of data that a receipt documents.

    `principal` is the person whose data it is, by name or pseudonym, `controller` is who decides
    about the purpose, and `categories` maps fields to their categories of data. `jurisdiction` is a
    term of the vocabulary such as `loc:EU`. `retention` is a duration in ISO 8601 such as `PT24H`,
    the request's days if it is None. `run` is the program that is allowed, if that is not the one
    named as the request's action.
    """

    request: AccessRequest
    grant: Grant
    policy_version: str
    principal: str
    controller: str
    categories: Mapping[str, str]
    jurisdiction: str
    events: Sequence[ReceiptEvent]
    retention: str | None = None
    run: Run | None = None


@dataclass(frozen=True)
class Receipt:
    """A signed receipt; create it with `issue` or `parse`."""

    document: Mapping[str, Any]

    @classmethod
    def issue(cls, allowed: Allowed, key: Ed25519PrivateKey, receipt_id: str, now: int) -> Self:
        """Sign a receipt with the owner's key; `receipt_id` is 128 random bits in hexadecimal.

        Raises ReceiptInvalid if something that it must have is missing.
        """
        if not allowed.events or not re.fullmatch(_HEX_128, receipt_id):
            raise ReceiptInvalid("A receipt needs an id and at least the event of the consent.")
        try:
            document = signed(key, DOMAIN, _document(allowed, receipt_id, now))
        except (KeyError, ValueError) as error:
            raise ReceiptInvalid(f"The receipt cannot be made: {error}.") from error
        return cls(document)

    @classmethod
    def parse(cls, data: bytes, owner_key: str, request_digest: str | None = None) -> Self:
        """Read a receipt and verify it: signed by the owner's key (hexadecimal), for the request.

        Raises ReceiptInvalid.
        """
        if len(data) > LARGEST_RECEIPT:
            raise ReceiptInvalid(f"A receipt has at most {LARGEST_RECEIPT} bytes.")
        try:
            document = parse_json(data)
        except ValueError as error:
            raise ReceiptInvalid(f"The receipt is not valid JSON: {error}.") from error
        if not isinstance(document, dict) or document.get("@type") != "dpv:ConsentReceipt":
            raise ReceiptInvalid("This is not a consent receipt.")
        if signer_of(DOMAIN, document) != owner_key:
            raise ReceiptInvalid(
                "The receipt is not signed by the owner of the data, or was altered; ask the owner "
                "for the receipt again."
            )
        receipt = cls(document)
        if not re.fullmatch(_HEX_128, receipt.id) or not re.fullmatch(_HEX_256, receipt.request):
            raise ReceiptInvalid("The receipt lacks its id or the digest of its request.")
        if request_digest is not None and receipt.request != request_digest:
            raise ReceiptInvalid("The receipt belongs to another request.")
        return receipt

    @property
    def id(self) -> str:
        """The receipt's id."""
        return str(self.document.get("dct:identifier"))

    @property
    def request(self) -> str:
        """The digest of the request that it is for."""
        return str(self.document.get("triseal:request"))

    @property
    def policy_version(self) -> str:
        """The version of the policy that allowed the request."""
        return str(self.document.get("triseal:policyVersion"))

    @property
    def key(self) -> str:
        """The owner's public key, in hexadecimal."""
        return str(self.document[PROOF]["key"])

    @property
    def given(self) -> bool:
        """True if the receipt says that consent was given."""
        return self.document.get("dpv:hasConsentStatus") == STATUS["active"]

    @property
    def owner(self) -> str:
        """The name of the owner of the data, empty if the receipt lacks it."""
        exporter = self.document.get("dpv:hasDataExporter")
        return str(exporter.get("dpv:hasName", "")) if isinstance(exporter, dict) else ""

    @property
    def target(self) -> str:
        """The id of the application or data set whose use it allows, empty if it lacks it."""
        return str(self._process.get("dct:subject", ""))

    def allows(self, action: Action) -> bool:
        """Return True if its processing is that of the action, which may be that of others too."""
        return self._process.get("dpv:hasProcessing") == list(PROCESSING[action])

    @property
    def run(self) -> str | None:
        """The program that it allows, if that is not the one named as its action."""
        found = self._process.get("triseal:program")
        return None if found is None else str(found)

    @property
    def _process(self) -> Mapping[str, Any]:
        listed = self.document.get("dpv:hasProcess")
        one = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
        return one if isinstance(one, dict) else {}

    def to_bytes(self) -> bytes:
        """Return the receipt in canonical JSON, for export and as `parse` reads it."""
        return canonical(self.document)


def _document(allowed: Allowed, receipt_id: str, now: int) -> dict[str, Any]:
    request = allowed.request
    return {
        "@context": CONTEXT,
        "@id": f"urn:triseal:receipt:{receipt_id}",
        "@type": "dpv:ConsentReceipt",
        "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560",
        "dct:hasVersion": "ISO/IEC TS 27560:2023",
        "dct:identifier": receipt_id,
        "dct:issued": _text(now),
        "dpv:hasConsentStatus": STATUS[allowed.events[-1].status],
        "dpv:hasDataSubject": _entity("dpv:DataSubject", allowed.principal),
        "dpv:hasDataController": _entity("dpv:DataController", allowed.controller),
        "dpv:hasDataExporter": _entity("dpv:DataExporter", request.owner),
        "dpv:hasJurisdiction": allowed.jurisdiction,
        "dpv:hasProcess": [_process(allowed)],
        "dct:hasPart": [_event(event) for event in allowed.events],
        "triseal:request": request.digest,
        "triseal:policyVersion": allowed.policy_version,
    }


def _process(allowed: Allowed) -> dict[str, Any]:
    request, grant, categories = allowed.request, allowed.grant, allowed.categories
    named = {} if allowed.run is None else {"triseal:program": allowed.run}
    return {
        **named,
        "@type": "dpv:Process",
        "dct:subject": request.target,
        "dpv:hasPurpose": {"@type": request.purpose, "dct:description": request.reason},
        "dpv:hasLegalBasis": "dpv:Consent",
        "dpv:hasProcessing": list(PROCESSING[request.action]),
        "dpv:hasPersonalData": [
            {"@type": "dpv:PersonalData", "dct:title": field, "triseal:category": categories[field]}
            for field in grant.fields
        ],
        "dpv:hasRecipient": [_entity("dpv:Recipient", reader) for reader in request.readers],
        "dpv:hasStorageCondition": {
            "@type": "dpv:StorageCondition",
            "dpv:hasDuration": allowed.retention or f"P{request.retention_days}D",
        },
        "dpv:hasFrequency": f"{grant.uses.count} {_PERIODS[grant.uses.period]}",
        "dpv:hasDuration": {"@type": "dpv:UntilTimeDuration", "dct:valid": _text(grant.not_after)},
    }


def _event(event: ReceiptEvent) -> dict[str, Any]:
    return {
        "@type": STATUS[event.status],
        "dct:date": _text(event.at),
        "dpv:isIndicatedBy": event.by,
    }


def _entity(kind: str, name: str) -> dict[str, Any]:
    return {"@type": kind, "dpv:hasName": name}


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
