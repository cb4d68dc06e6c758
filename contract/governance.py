"""The bodies of requests and responses about the log, the policy, consents and permits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contract.http import Body, Moment, RequestBody

MOST_ENTRIES = 256
"""Entries of the log in one response."""
MOST_LINES = 500
"""Lines of the operator's view of the log in one response."""
LARGEST_POLICY_FILE = 256 * 1024
"""Characters of one file of the policy."""
LONGEST_PERMIT_SECONDS = 300

Hex256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
UserId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
PartnerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
FieldName = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f*][^\x00-\x1f\x7f]*$")]
PurposeTerm = Annotated[str, Field(pattern=r"^dpv:[A-Za-z]{1,60}$")]
PartnerKind = Literal[
    "bank", "credit_agency", "employer", "insurer", "merchant", "public_authority", "researcher"
]
LogStatus = Literal["allowed", "denied", "reduced", "paused", "resumed", "done", "failed"]
LogKind = Literal[
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


class LogFacts(Body):
    """The log's name, number of entries and keys.

    `verifier_key` is the log's key for tools that read signed notes, `permit_key` signs the permits
    that the server gives, and `cosigners` has the public keys of those who may cosign, by name.
    """

    origin: str
    size: int
    key: Hex256
    verifier_key: str
    permit_key: Hex256
    cosigners: dict[str, Hex256]


class LogEntry(Body):
    """An entry of the log and its number, from 0.

    `details` are null unless the caller may read them and the person has not been erased.
    """

    index: int
    entry: dict[str, Any]
    details: dict[str, Any] | None = None


class LogEntries(Body):
    """Consecutive entries of the log, or those about one application; `size` is of the log."""

    size: int
    items: list[LogEntry]


class InclusionProof(Body):
    """The hashes that lead from an entry to the log's root (RFC 9162, 2.1.3)."""

    index: int
    hashes: list[Hex256]


class ConsistencyProof(Body):
    """The hashes that show that a log continues an earlier one (RFC 9162, 2.1.4)."""

    hashes: list[Hex256]


class CosignatureRequest(RequestBody):
    """The signature line of a cosigner for the checkpoint of `size` entries."""

    size: Annotated[int, Field(ge=0, lt=2**53)]
    line: Annotated[str, Field(min_length=1, max_length=512)]


class Integrity(Body):
    """The result of an audit of the stored log.

    `cosigned` has the largest size that each cosigner has signed. `entries_checked` is less than
    `size` for a very large log, and for a damaged one, whose first fault is `fault`.
    """

    healthy: bool
    fault: str | None
    size: int
    root: str
    entries_checked: int
    cosigned: dict[str, int]
    checked_at: Moment


class LogLine(Body):
    """An entry of the log as the operator sees it.

    `erased` means that there were details, and that the key to them was destroyed. `person` is the
    pseudonym of the user or application in the entry.
    """

    index: int
    time: str
    kind: str
    status: str | None
    partner_id: str | None
    user_id: str | None
    application: str | None
    erased: bool
    details: dict[str, Any] | None
    person: str | None = None


class LogLines(Body):
    """Lines of the log, the newest first."""

    items: list[LogLine]


class PolicyRule(Body):
    """A rule in words: what it allows or forbids, and in which file and line it is."""

    id: str
    effect: Literal["permit", "forbid"]
    reason: str
    file: str
    line: int
    obligations: dict[str, Any] | None


class PolicyState(Body):
    """The policy: its version (SHA-256 of all files), its files by name, and its rules."""

    version: Hex256
    files: dict[str, str]
    rules: list[PolicyRule]


class PolicyFileRequest(RequestBody):
    """The new content of a file of the policy; null removes the file."""

    text: Annotated[str | None, Field(max_length=LARGEST_POLICY_FILE)]


class PolicyVersion(Body):
    """The policy's version after a change."""

    version: Hex256


class PartnerRequest(RequestBody):
    """An institution to register: its id, its type in the policy, and its public key (Ed25519)."""

    partner_id: PartnerId
    partner_type: PartnerKind
    key: Hex256


class PartnerToken(Body):
    """The token of a registered partner, which is not shown again."""

    partner_id: str
    token: Annotated[str, Field(repr=False)]


class PartnerLine(Body):
    """A registered partner."""

    partner_id: str
    partner_type: PartnerKind
    key: Hex256
    registered_at: Moment


class PartnerLines(Body):
    """The registered partners, ordered by their ids."""

    items: list[PartnerLine]


class ConsentRequest(RequestBody):
    """A user's decision on a partner and a purpose, at a time in milliseconds since 1970."""

    state: Literal["granted", "revoked"]
    purpose: PurposeTerm
    signed_at: Annotated[int, Field(ge=0, lt=2**53)]


class AuthorizeRequest(RequestBody):
    """A partner's request for fields of a user's record.

    `requested_data` names fields; if it is null, the request is for all fields that the policy
    allows. `expires_in` is in seconds.
    """

    partner_id: PartnerId
    user_id: UserId
    purpose: PurposeTerm
    requested_data: Annotated[list[FieldName] | None, Field(min_length=1, max_length=64)] = None
    expires_in: Annotated[int, Field(ge=1, le=LONGEST_PERMIT_SECONDS)] = LONGEST_PERMIT_SECONDS


class Authorized(Body):
    """A permit for one release (`token`), and the owner's agent that it is redeemed at.

    `masking_applied` has the kind of mask of each field in `data_segments`.
    """

    request_id: str
    token: Annotated[str, Field(repr=False)]
    exchange_host: str
    exchange_port: int
    expires_in: int
    expires_at: Moment
    data_segments: list[str]
    masking_applied: dict[str, str]


class SpendRequest(RequestBody):
    """A permit that an owner's agent is about to fulfil, and the digest of the consent receipt."""

    token: Annotated[str, Field(min_length=1, max_length=16 * 1024, repr=False)]
    receipt: Hex256 | None = None


class Spent(Body):
    """The use of a permit: its entry in the log, and what the permit allows."""

    request_id: str
    partner_id: str
    purpose: str
    entry: int
    fields: list[str]
    masks: dict[str, str]
