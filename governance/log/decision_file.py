"""Decision files: all that shows, offline, that one use of data was allowed, done and logged.

A decision file is one JSON object, at most LARGEST_FILE bytes, of values that have a canonical form
(governance/canonical.py):

    {"format": "triseal decision file 1",
     "grants": [{"receipt": {...}, "permit": "<header>.<claims>.<signature>"}, ...],
     "program": "<SHA-256>" or null,
     "statement": {"application": "...", "program": "decide", "model": "<SHA-256>",
                   "messages": {"bank/encrypted_inputs": "<SHA-256>", ...},
                   "result": "<SHA-256>",
                   "signatures": {"<public key>": "<signature>", ...}} or null,
     "entry": {...},
     "inclusion": {"index": 5, "hashes": ["<hash>", ...]},
     "checkpoint": "<signed note>"}

There is one grant for each owner whose data was used. Keys, digests, hashes and signatures are in
hexadecimal, in lower case. `verify` here and `verify.py`, which shares no code with it, accept the
same files. Of what others define, they read no more than this:

- of a receipt (governance/receipts.py): `@type`, `dct:identifier`, `dpv:hasConsentStatus`, which
  must be given, `triseal:request`, and `proof` with `key` and `signature`, which signs
  b"triseal consent receipt 1\\n" and the canonical JSON of all other members;
- of a permit (governance/permits.py), a compact JWS (RFC 7515): the header, which must be exactly
  `alg` EdDSA, `kid` the same key as the receipt's, and `typ`; the claims `sub`, `action`, `run`,
  which may be missing, `program`, `inputs`, `iat` and `exp`;
- of a statement (engines/statement.py): all of it;
- of an entry (governance/log/entries.py): all of it.

The receipt names the digest of its request in `triseal:request`, and the permit in `sub`; for
`decide` and `explain`, `sub` may be the statement's application instead. The statement's program is
the permit's `run`, or its action without one. The log's entry, of kind `use`, names the digests of
all requests, receipts and permits, of the program, the statement and the result; nothing can be
left out of the file or put into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from engines.statement import Statement, verify_statement
from governance.canonical import canonical, digest
from governance.log.checkpoint import (
    LARGEST_NOTE,
    Checkpoint,
    Note,
    require_cosigners,
    verify_checkpoint,
)
from governance.log.entries import MOST_IN_A_LIST, Entry
from governance.log.merkle import LARGEST_SIZE, MOST_HASHES, verify_inclusion
from governance.permits import Permit, require_time, signed_by
from governance.receipts import STATUS, Receipt
from utils.errors import PermitInvalid, ProofInvalid, ReceiptInvalid, ResultNotWitnessed
from utils.strict_json import parse_json

FORMAT: Literal["triseal decision file 1"] = "triseal decision file 1"
LARGEST_FILE = 512 * 1024
"""Bytes of the largest decision file."""
LARGEST_TRUST = 64 * 1024
"""Bytes of the largest trust file."""
LARGEST_PERMIT = 16 * 1024
MOST_MESSAGES, MOST_SIGNATURES, MOST_KEYS = 64, 8, 64
WITNESSED = ("decide", "explain")
"""Actions whose result a witness has to sign."""

_T = TypeVar("_T")
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
_Name = Annotated[str, Field(pattern=r"^[!-*,-~]{1,128}$")]
"""Printable ASCII without spaces and `+`, as the format of notes advises."""
_Text = Annotated[str, Field(min_length=1, max_length=128)]
_Keys = Annotated[dict[_Name, _Hex], Field(max_length=MOST_KEYS)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Grant(_Part):
    """One owner's consent receipt and permit for this use."""

    receipt: dict[str, JsonValue]
    permit: Annotated[str, Field(max_length=LARGEST_PERMIT, pattern=r"^[A-Za-z0-9._-]+$")]


class SignedStatement(_Part):
    """A statement about a result, and its signatures by the witnesses' public keys."""

    application: _Text
    program: _Text
    model: _Hex
    messages: Annotated[dict[_Text, _Hex], Field(max_length=MOST_MESSAGES)]
    result: _Hex
    signatures: Annotated[dict[_Hex, _Signature], Field(max_length=MOST_SIGNATURES)]

    @classmethod
    def of(cls, statement: Statement, signatures: dict[bytes, bytes]) -> Self:
        """Return a statement with its signatures by public key, both raw."""
        return cls(
            application=statement.application,
            program=statement.program,
            model=statement.model_sha256,
            messages=dict(statement.messages),
            result=statement.result_sha256,
            signatures={key.hex(): each.hex() for key, each in signatures.items()},
        )

    @property
    def statement(self) -> Statement:
        """The statement that the witnesses signed."""
        return Statement(self.application, self.program, self.model, self.messages, self.result)

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes that the witnesses signed, in hexadecimal."""
        return hashlib.sha256(self.statement.to_bytes()).hexdigest()


class Inclusion(_Part):
    """The proof that the entry is leaf `index` of the checkpoint's tree."""

    index: Annotated[int, Field(ge=0, lt=LARGEST_SIZE)]
    hashes: Annotated[tuple[_Hex, ...], Field(max_length=MOST_HASHES, strict=False)]


class DecisionFile(_Part):
    """A decision file; nothing in it is verified until `verify`."""

    format: Literal["triseal decision file 1"] = FORMAT
    grants: Annotated[
        tuple[Grant, ...], Field(min_length=1, max_length=MOST_IN_A_LIST, strict=False)
    ]
    program: _Hex | None
    statement: SignedStatement | None
    entry: dict[str, JsonValue]
    inclusion: Inclusion
    checkpoint: Annotated[str, Field(max_length=LARGEST_NOTE)]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a decision file; raises ProofInvalid."""
        found = _read(data, LARGEST_FILE, "decision file", cls.model_validate)
        if "format" not in found.model_fields_set:
            raise ProofInvalid("The decision file does not say its format. Ask for it again.")
        return found

    def to_bytes(self) -> bytes:
        """Return the file in canonical JSON."""
        return canonical(self.model_dump(mode="json"))


class LogKey(_Part):
    """The log's name and its public key."""

    origin: _Name
    key: _Hex


class Trust(_Part):
    """The keys that a reader trusts, by name; of the cosigners, `least` must have signed, or all.

    The file is one JSON object with exactly these fields; `least` may be left out.
    """

    log: LogKey
    cosigners: _Keys
    owners: _Keys
    witnesses: _Keys
    least: Annotated[int, Field(ge=1, le=MOST_KEYS)] | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a trust file; raises ProofInvalid."""
        trust = _read(data, LARGEST_TRUST, "trust file", cls.model_validate)
        for keys in (trust.cosigners, trust.owners, trust.witnesses):
            if len(set(keys.values())) < len(keys):
                raise ProofInvalid("The trust file has one key under two names. Correct it.")
        if trust.log.key in trust.cosigners.values():
            raise ProofInvalid(
                "The trust file has the log's own key as a cosigner's, who would not watch over "
                "the log. Correct it."
            )
        return trust

    def to_bytes(self) -> bytes:
        """Return the file in canonical JSON."""
        return canonical(self.model_dump(mode="json"))


def make_entry(
    seconds: int,
    grants: Iterable[Grant],
    program: str | None,
    statement: SignedStatement | None,
    result: str,
    *,
    pseudonyms: Mapping[str, Iterable[str]] | None = None,
    details: str | None = None,
) -> Entry:
    """Return the log entry of a use that was done, with the digests that `verify` expects.

    `seconds` is when the permits were accepted, `result` the SHA-256 of what its reader was given.
    """
    given = list(grants)
    return Entry.made(
        "use",
        seconds,
        outcome="done",
        digests={
            "request": [str(grant.receipt.get("triseal:request")) for grant in given],
            "receipt": [digest(grant.receipt) for grant in given],
            "permit": [_text_digest(grant.permit) for grant in given],
            "program": [program] if program else [],
            "statement": [statement.digest] if statement else [],
            "result": [result],
        },
        pseudonyms=pseudonyms,
        details=details,
    )


def verify(file: DecisionFile, trust: Trust) -> Checkpoint:
    """Verify everything in a decision file, and return the checkpoint that it leads to.

    Raises ReceiptInvalid, PermitInvalid, PermitExpired, ResultNotWitnessed or ProofInvalid.
    """
    entry = Entry.from_json(file.entry)
    receipts = [_verified_receipt(grant, trust) for grant in file.grants]
    if len({receipt.key for receipt in receipts}) < len(receipts):
        raise ReceiptInvalid("Two receipts are by one owner; there is one of each. Ask for both.")
    permits = [
        _verified_permit(grant, receipt, file.statement, entry)
        for grant, receipt in zip(file.grants, receipts, strict=True)
    ]
    actions = {(permit.action, permit.run, permit.program) for permit in permits}
    if len(actions) > 1 or permits[0].program != file.program:
        raise PermitInvalid(
            "The permits are not all for the program that the file names. Ask for the permits that "
            "were used."
        )
    _verify_statement(file, permits[0], trust)
    _require_entry(file, entry, receipts)
    note = Note.parse(file.checkpoint)
    checkpoint = verify_checkpoint(note, trust.log.origin, bytes.fromhex(trust.log.key))
    cosigners = {name: bytes.fromhex(key) for name, key in trust.cosigners.items()}
    require_cosigners(note, cosigners, trust.least)
    verify_inclusion(
        entry.leaf,
        file.inclusion.index,
        checkpoint.size,
        [bytes.fromhex(each) for each in file.inclusion.hashes],
        checkpoint.root,
    )
    return checkpoint


def _verified_receipt(grant: Grant, trust: Trust) -> Receipt:
    proof = grant.receipt.get("proof")
    key = proof.get("key") if isinstance(proof, dict) else None
    if not isinstance(key, str) or key not in trust.owners.values():
        raise ReceiptInvalid("A receipt is not by an owner in the trust file. Compare the keys.")
    try:
        receipt = Receipt.parse(canonical(grant.receipt), key)
    except ValueError as error:
        raise ReceiptInvalid(f"A receipt has no canonical form: {error}.") from error
    if grant.receipt.get("dpv:hasConsentStatus") != STATUS["active"]:
        raise ReceiptInvalid("A receipt does not say that consent was given.")
    return receipt


def _verified_permit(
    grant: Grant, receipt: Receipt, statement: SignedStatement | None, entry: Entry
) -> Permit:
    permit = signed_by(grant.permit, bytes.fromhex(receipt.key))
    require_time(permit, entry.seconds)
    subjects = [receipt.request]
    if statement is not None and permit.action in WITNESSED:
        subjects.append(statement.application)
    if permit.sub not in subjects:
        raise PermitInvalid("The permit is for another request than the receipt beside it.")
    messages = {} if statement is None else statement.messages
    if any(messages.get(name) != value for name, value in permit.inputs.items()):
        raise PermitInvalid("The permit is for other messages than those that were evaluated.")
    return permit


def _verify_statement(file: DecisionFile, permit: Permit, trust: Trust) -> None:
    found, action = file.statement, permit.action
    if action not in WITNESSED:
        if found is not None:
            raise ResultNotWitnessed(f"There is a witness's statement about a {action}.")
        return
    if found is None or not trust.witnesses:
        raise ResultNotWitnessed(
            "No witness is named in the trust file, or none has signed the result. Name those whom "
            "you trust, and ask for the file with their signatures."
        )
    if found.program != permit.evaluates or found.model != file.program:
        raise ResultNotWitnessed("The witness's statement is about another program.")
    for name, key in trust.witnesses.items():
        signature = bytes.fromhex(found.signatures.get(key, ""))
        try:
            verify_statement(found.statement, bytes.fromhex(key), signature, name)
        except ResultNotWitnessed as error:
            raise ResultNotWitnessed(
                f"The witness {name[:40]} has not signed this statement. Ask for the file again; "
                f"if it stays so, ask {name[:40]} whether it signed this result."
            ) from error


def _require_entry(file: DecisionFile, entry: Entry, receipts: Iterable[Receipt]) -> None:
    expected = {
        "request": {receipt.request for receipt in receipts},
        "receipt": {digest(grant.receipt) for grant in file.grants},
        "permit": {_text_digest(grant.permit) for grant in file.grants},
        "program": {file.program} if file.program else set(),
        "statement": {file.statement.digest} if file.statement else set(),
    }
    if file.statement is not None:
        expected["result"] = {file.statement.result}
    named = all(set(entry.digests.get(name, ())) == each for name, each in expected.items())
    if entry.kind != "use" or entry.outcome != "done" or not named:
        raise ProofInvalid(
            "The log's entry is not of this use: it names other documents. Ask for the file again."
        )


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(data: bytes, largest: int, what: str, validate: Callable[[Any], _T]) -> _T:
    """Return the validated JSON of at most `largest` bytes; raises ProofInvalid."""
    if len(data) > largest:
        raise ProofInvalid(f"A {what} has at most {largest} bytes.")
    try:
        found = parse_json(data)
        canonical(found)
        return validate(found)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"]))[:60] for fault in error.errors()[:5])
        raise ProofInvalid(f"The {what} is malformed at: {places or 'its top'}.") from None
    except ValueError as error:
        raise ProofInvalid(f"The {what} is not valid JSON: {error}.") from error
