"""Verify a decision file offline: that one use of data was allowed, done and logged.

    python verify.py DECISION_FILE --trust KEYS.json
    python verify.py --checkpoints EARLIER LATER [--proof PROOF.json] --trust KEYS.json

This one file needs Python 3.11 or later and the library `cryptography`, and nothing else of the
project that made the decision file. It prints a line for each check, and exits with 0 if all of
them passed, otherwise with 1.

The first form checks the consent receipts, the permits, the program's digest, the witnesses'
signatures, the log's entry, the checkpoint's signature, its cosignatures and the inclusion proof,
and that all of them are of the same requests and the same use. The second form compares two
checkpoints of one log: of one size with different roots they are a fork, a later one of a smaller
size is a rollback, and that a larger one continues the earlier one has to be shown by a consistency
proof, `{"hashes": ["<hash>", ...]}`.

The trust file has the keys that you trust, as 64 hexadecimal digits that you got from their holders
and not from whoever gave you the decision file:

    {"log": {"origin": "bank.example/log", "key": "..."},
     "cosigners": {"agency": "...", "witness": "..."},
     "owners": {"applicant": "..."},
     "witnesses": {"witness": "..."}}

All cosigners named must have signed the checkpoint, or, with a further field `least`, that many of
them. All witnesses named must have signed the result of an encrypted decision.

Formats: canonical JSON (RFC 8785, 2020), JWS (RFC 7515, 2015), Ed25519 (RFC 8032, 2017), Merkle
trees (RFC 9162, 2021, section 2.1), signed notes, checkpoints and cosignatures
(c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LARGEST_FILE, LARGEST_TRUST, LARGEST_NOTE = 512 * 1024, 64 * 1024, 16 * 1024
LARGEST_RECEIPT, LARGEST_PERMIT, LARGEST_ENTRY = 256 * 1024, 16 * 1024, 8 * 1024
LARGEST_INTEGER = LARGEST_SIZE = 2**53 - 1
DEEPEST = 32  # levels of nested JSON
MOST_HASHES, MOST_NOTE_LINES, MOST_GRANTS, MOST_KEYS, MOST_MESSAGES = 64, 32, 8, 64, 64
PERMIT_SECONDS, SKEW_SECONDS = 300, 30  # a permit's longest life; difference of clocks
ACTIONS = ("decide", "explain", "statistic", "release")
WITNESSED = ("decide", "explain")
RUNS = ("reasons",)
"""Programs of the action `explain` that have a name of their own."""
HEX_256, HEX_512 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{128}")
NAME = re.compile(r"[!-*,-~]{1,128}")
KINDS = {
    *("request", "decision", "answer", "permit", "use", "statement"),
    *("revocation", "erasure"),
    *("policy_change", "checkpoint"),
}
OUTCOMES = {"allowed", "denied", "reduced", "paused", "resumed", "done", "failed"}
DIGESTS = {
    *("answer", "checkpoint", "permit", "policy", "program", "receipt", "request", "result"),
    "statement",
}
ROLES = {"owner", "requester", "operator", "person"}


class Refused(Exception):
    """A check failed; the message says why."""


def require(condition: object, problem: str) -> None:
    """Raise Refused unless the condition holds."""
    if not condition:
        raise Refused(problem)


# JSON


def read_json(data: bytes, largest: int, what: str) -> Any:
    """Return decoded JSON that has a canonical form; raises Refused."""
    require(len(data) <= largest, f"the {what} has more than {largest} bytes")
    try:
        found = json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_distinct, parse_constant=_no_constant
        )
        canonical(found)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the {what} is not valid JSON: {str(error)[:200]}") from error
    return found


def canonical(value: object) -> bytes:
    """Return the canonical JSON of a value without floating-point numbers (RFC 8785).

    Raises ValueError if it has none.
    """
    text = json.dumps(_ordered(value, DEEPEST), ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _ordered(value: object, levels: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        value.encode()
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise ValueError("an integer is too large")
        return value
    if not isinstance(value, list | dict) or levels == 0:
        raise ValueError("a number has a decimal point, or values are nested too deeply")
    if isinstance(value, list):
        return [_ordered(each, levels - 1) for each in value]
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return {name: _ordered(value[name], levels - 1) for name in names}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def fields(value: object, names: str, what: str, optional: str = "") -> dict[str, Any]:
    """Return an object with exactly these fields; raises Refused."""
    wanted, further = set(names.split()), set(optional.split())
    fits = isinstance(value, dict) and wanted <= value.keys() <= wanted | further
    require(fits, f"{what} must be an object with exactly the fields {names}")
    return dict(value) if isinstance(value, dict) else {}


def text(value: object, what: str, pattern: re.Pattern[str] | None = None, most: int = 128) -> str:
    """Return a text that matches a pattern or has 1 to `most` characters; raises Refused."""
    fits = isinstance(value, str) and (
        pattern.fullmatch(value) is not None if pattern else 1 <= len(value) <= most
    )
    require(fits, f"{what} is malformed")
    return str(value)


def whole_number(value: object, what: str, least: int, below: int) -> int:
    """Return an integer; raises Refused."""
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value < below
    require(fits, f"{what} is malformed")
    return value if isinstance(value, int) else 0


def keys_of(value: object, what: str) -> dict[str, str]:
    """Return public keys by name, no key twice; raises Refused."""
    fits = isinstance(value, dict) and len(value) <= MOST_KEYS
    require(fits, f"{what} must be an object with keys by name")
    found = dict(value) if isinstance(value, dict) else {}
    for name, key in found.items():
        text(name, f"a name in {what}", NAME)
        text(key, f"a key in {what}", HEX_256)
    require(len(set(found.values())) == len(found), f"{what} has one key under two names")
    return found


def list_of(value: object, what: str, least: int, most: int) -> list[Any]:
    """Return a list with a number of items within these limits; raises Refused."""
    require(isinstance(value, list) and least <= len(value) <= most, f"{what} is malformed")
    return list(value) if isinstance(value, list) else []


# Signatures


def signed(key: str, signature: bytes, message: bytes) -> bool:
    """Return True if the signature is that of a key in hexadecimal."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def from_base64(encoded: str, alphabet: bytes | None = None) -> bytes | None:
    """Return the bytes of a base64 text; None unless it is the one text of these bytes."""
    try:
        data = base64.b64decode(encoded.encode(), altchars=alphabet, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data, altchars=alphabet).decode() == encoded else None


def from_base64url(encoded: str) -> bytes:
    """Return the bytes of a base64url text without padding (RFC 7515); raises Refused."""
    data = from_base64(encoded + "=" * (-len(encoded) % 4), b"-_")
    if data is None or "=" in encoded:
        raise Refused("the permit is not encoded as a compact JWS")
    return data


# The Merkle tree (RFC 9162, 2.1)


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify that a leaf is in a tree, as in RFC 9162, 2.1.3.2; raises Refused."""
    require(index < size, "the entry's number is not below the checkpoint's size")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        require(last, "the inclusion proof is too long for this checkpoint")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    require(last == 0, "the inclusion proof is too short for this checkpoint")
    require(value == root, "the inclusion proof does not lead to the checkpoint's root")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Verify that a larger tree continues a smaller one, as in RFC 9162, 2.1.4.2; raises Refused.

    Each hash of the proof covers leaves of both trees, or of the new one alone: the first ones give
    the old root, all of them the new one.
    """
    problem = "the proof does not show that the later checkpoint continues the earlier one"
    if old == 0:
        require(not proof and old_root == hashlib.sha256(b"").digest(), problem)
        return
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    require(hashes, problem)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    former = latter = hashes[0]
    for value in hashes[1:]:
        require(last, problem)
        if node & 1 or node == last:
            former, latter = node_hash(value, former), node_hash(value, latter)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            latter = node_hash(latter, value)
        node, last = node >> 1, last >> 1
    require(last == 0 and former == old_root and latter == new_root, problem)


# Checkpoints


class Note:
    """A signed note: its text, and the signatures by name and key id."""

    def __init__(self, note: str) -> None:
        """Parse a note; raises Refused."""
        problem = "the checkpoint is not a signed note"
        try:
            size = len(note.encode())
        except UnicodeEncodeError as error:
            raise Refused(problem) from error
        require(size <= LARGEST_NOTE, f"the checkpoint has more than {LARGEST_NOTE} bytes")
        require(not any(each < " " and each != "\n" for each in note), problem)
        body, separator, rest = note.rpartition("\n\n")
        require(separator and body and rest.endswith("\n"), problem)
        lines = rest[:-1].split("\n")
        require(len(lines) <= MOST_NOTE_LINES, "the checkpoint has too many signatures")
        self.text = body + "\n"
        self.signatures: dict[tuple[str, bytes], bytes] = {}
        for line in lines:
            match = re.fullmatch(r"— ([^\s+]{1,128}) ([A-Za-z0-9+/]{8,7000}={0,2})", line)
            data = from_base64(match[2]) if match else None
            if match is None or data is None or len(data) <= 4:
                raise Refused(problem)
            place = match[1], data[:4]
            require(place not in self.signatures, "the checkpoint has two signatures by one key")
            self.signatures[place] = data[4:]

    def signature_by(self, name: str, key: str, kind: int) -> bytes | None:
        """Return the signature of a key, by its type of 0x01 (log) or 0x04 (cosigner)."""
        public = bytes([kind]) + bytes.fromhex(key)
        identifier = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        return self.signatures.get((name, identifier))

    def checkpoint(self, log: dict[str, str]) -> tuple[int, bytes]:
        """Return the size and root that the log signed; raises Refused."""
        pattern = r"([^\s+]{1,128})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n"
        match = re.fullmatch(pattern, self.text)
        root = from_base64(match[3]) if match else None
        if match is None or root is None or int(match[2]) > LARGEST_SIZE:
            raise Refused("the text is not that of a checkpoint")
        signature = self.signature_by(log["origin"], log["key"], 0x01)
        require(
            match[1] == log["origin"] and signed(log["key"], signature or b"", self.text.encode()),
            f"it is not signed by the log {log['origin']} with the key that you trust",
        )
        return int(match[2]), root

    def cosigners(self, keys: dict[str, str], least: int | None) -> dict[str, int]:
        """Return the times of the cosignatures by name, if enough have signed; raises Refused."""
        require(keys, "the trust file names no cosigner")
        needed = len(keys) if least is None else least
        require(needed <= len(keys), "the trust file requires more cosigners than it names")
        found: dict[str, int] = {}
        for name, key in keys.items():
            signature = self.signature_by(name, key, 0x04)
            if signature is None:
                continue
            seconds = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {seconds}\n{self.text}".encode()
            valid = seconds <= LARGEST_INTEGER and signed(key, signature[8:], message)
            require(valid, f"the cosignature by {name} is not of this checkpoint")
            found[name] = seconds
        missing = ", ".join(sorted(keys.keys() - found.keys()))
        require(len(found) >= needed, f"{len(found)} of {needed} cosigned it; missing: {missing}")
        return found


# The parts of a decision file


def read_trust(data: bytes) -> dict[str, Any]:
    """Return the trust file; raises Refused."""
    found = read_json(data, LARGEST_TRUST, "trust file")
    trust = fields(found, "log cosigners owners witnesses", "the trust file", "least")
    log = fields(trust["log"], "origin key", "`log` in the trust file")
    text(log["origin"], "the log's origin", NAME)
    text(log["key"], "the log's key", HEX_256)
    for name in ("cosigners", "owners", "witnesses"):
        trust[name] = keys_of(trust[name], f"`{name}` in the trust file")
    if trust.setdefault("least", None) is not None:
        whole_number(trust["least"], "`least` in the trust file", 1, MOST_KEYS + 1)
    require(log["key"] not in trust["cosigners"].values(), "the log's key is also a cosigner's")
    return trust


def read_decision(data: bytes) -> dict[str, Any]:
    """Return a decision file whose parts have the right form; raises Refused."""
    names = "format grants program statement entry inclusion checkpoint"
    file = fields(read_json(data, LARGEST_FILE, "decision file"), names, "the decision file")
    require(file["format"] == "triseal decision file 1", "the decision file has another format")
    for grant in list_of(file["grants"], "`grants`", 1, MOST_GRANTS):
        fields(grant, "receipt permit", "a grant")
        require(isinstance(grant["receipt"], dict), "a receipt must be an object")
        pattern = re.compile(rf"[A-Za-z0-9._-]{{1,{LARGEST_PERMIT}}}")
        text(grant["permit"], "a permit", pattern)
    if file["program"] is not None:
        text(file["program"], "the program's digest", HEX_256)
    if file["statement"] is not None:
        _require_statement(file["statement"])
    _require_entry(file["entry"])
    inclusion = fields(file["inclusion"], "index hashes", "the inclusion proof")
    whole_number(inclusion["index"], "the entry's number", 0, LARGEST_SIZE)
    for each in list_of(inclusion["hashes"], "the inclusion proof", 0, MOST_HASHES):
        text(each, "a hash of the inclusion proof", HEX_256)
    text(file["checkpoint"], "the checkpoint", most=LARGEST_NOTE)
    return file


def _require_statement(found: object) -> None:
    names = "application program model messages result signatures"
    statement = fields(found, names, "the witness's statement")
    for name in ("application", "program"):
        text(statement[name], f"the statement's {name}")
    for name in ("model", "result"):
        text(statement[name], f"the statement's {name}", HEX_256)
    messages, signatures = statement["messages"], statement["signatures"]
    problem = "the statement's messages or signatures are malformed"
    require(isinstance(messages, dict) and len(messages) <= MOST_MESSAGES, problem)
    require(isinstance(signatures, dict) and len(signatures) <= MOST_GRANTS, problem)
    for name, each in messages.items():
        text(name, "a message's name")
        text(each, "a message's digest", HEX_256)
    for key, each in signatures.items():
        text(key, "a witness's key", HEX_256)
        text(each, "a witness's signature", HEX_512)


def _require_entry(found: object) -> None:
    names = "details digests kind outcome pseudonyms time"
    entry = fields(found, names, "the log's entry")
    require(len(canonical(entry)) <= LARGEST_ENTRY, "the log's entry is too large")
    kind, outcome = entry["kind"], entry["outcome"]
    require(isinstance(kind, str) and kind in KINDS, "the kind of entry is unknown")
    known = outcome is None or (isinstance(outcome, str) and outcome in OUTCOMES)
    require(known, "the entry's outcome is unknown")
    if entry["details"] is not None:
        text(entry["details"], "the entry's digest of details", HEX_256)
    for name, allowed in (("digests", DIGESTS), ("pseudonyms", ROLES)):
        lists = entry[name]
        known = isinstance(lists, dict) and lists.keys() <= allowed
        require(known, f"the entry's {name} are malformed")
        for values in lists.values():
            for each in list_of(values, f"the entry's {name}", 1, MOST_GRANTS):
                text(each, f"the entry's {name}", HEX_256)
            require(values == sorted(set(values)), f"the entry's {name} are out of order")
    seconds_of(entry)


def seconds_of(entry: dict[str, Any]) -> int:
    """Return an entry's time in seconds since 1970; raises Refused."""
    pattern = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
    try:
        return int(datetime.fromisoformat(text(entry["time"], "the time", pattern)).timestamp())
    except ValueError as error:
        raise Refused("the entry's time is not in the calendar") from error


class Permit:
    """A permit's key and claims, signature verified."""

    def __init__(self, token: str) -> None:
        """Read a permit; raises Refused."""
        parts = token.split(".")
        require(len(parts) == 3, "it is not a compact JWS")
        header = read_json(from_base64url(parts[0]), LARGEST_PERMIT, "permit's header")
        self.key = str(header.get("kid")) if isinstance(header, dict) else ""
        wanted = {"alg": "EdDSA", "kid": self.key, "typ": "triseal-permit+jwt"}
        require(header == wanted and HEX_256.fullmatch(self.key), "its header is another one")
        message = f"{parts[0]}.{parts[1]}".encode()
        require(signed(self.key, from_base64url(parts[2]), message), "its signature does not hold")
        claims = read_json(from_base64url(parts[1]), LARGEST_PERMIT, "permit's claims")
        require(isinstance(claims, dict), "its claims are not an object")
        self.claims: dict[str, Any] = claims
        self.action, self.program = claims.get("action"), claims.get("program")
        require(isinstance(self.action, str) and self.action in ACTIONS, "its action is unknown")
        self.run = claims.get("run")
        known = self.run is None or (self.run in RUNS and self.action == "explain")
        require(known, "its program is unknown")
        if self.program is not None:
            text(self.program, "its program", HEX_256)


# The checks, in the order of the lines that are printed


def receipts_are_signed(file: dict[str, Any], trust: dict[str, Any]) -> str:
    """Check that each receipt is an owner's, and says that consent was given."""
    names = {key: name for name, key in trust["owners"].items()}
    signers = []
    for grant in file["grants"]:
        receipt = grant["receipt"]
        proof = fields(receipt.get("proof"), "key signature", "a receipt's proof")
        key, signature = proof["key"], text(proof["signature"], "a signature", HEX_512)
        require(isinstance(key, str) and key in names, "a receipt is by no owner that you trust")
        content = canonical({name: each for name, each in receipt.items() if name != "proof"})
        message = b"triseal consent receipt 1\n" + content
        valid = signed(key, bytes.fromhex(signature), message)
        require(valid, f"the receipt of {names[key]} was altered or is not signed by it")
        require(len(canonical(receipt)) <= LARGEST_RECEIPT, "a receipt is too large")
        require(receipt.get("@type") == "dpv:ConsentReceipt", "a receipt is none of consent")
        given = receipt.get("dpv:hasConsentStatus") == "dpv:ConsentGiven"
        require(given, f"the receipt of {names[key]} does not say that consent was given")
        text(receipt.get("dct:identifier"), "a receipt's id", re.compile(r"[0-9a-f]{32}"))
        text(receipt.get("triseal:request"), "a receipt's request", HEX_256)
        require(key not in signers, f"there are two receipts of {names[key]}")
        signers.append(key)
    return "consent was given by " + ", ".join(names[key] for key in signers)


def permits_are_for_this_use(file: dict[str, Any], _trust: dict[str, Any]) -> str:
    """Check that each permit is by its receipt's owner, for its request, and was in time."""
    statement, seconds = file["statement"], seconds_of(file["entry"])
    permits = []
    for number, grant in enumerate(file["grants"], 1):
        receipt, what = grant["receipt"], f"permit {number}"
        try:
            permit = Permit(grant["permit"])
        except Refused as error:
            raise Refused(f"{what}: {error}") from error
        require(permit.key == receipt["proof"]["key"], f"{what} is not by its receipt's owner")
        claims = permit.claims
        subjects = {receipt["triseal:request"]}
        if statement is not None and permit.action in WITNESSED:
            subjects.add(statement["application"])
        subject = claims.get("sub")
        same = isinstance(subject, str) and subject in subjects
        require(same, f"{what} is for another request than the receipt beside it")
        messages = statement["messages"] if statement else {}
        inputs = claims.get("inputs", {})
        fits = isinstance(inputs, dict) and all(
            messages.get(name) == value for name, value in inputs.items()
        )
        require(fits, f"{what} is for other messages than those that were evaluated")
        begin = whole_number(claims.get("iat"), f"the time of {what}", 0, 2**40)
        end = whole_number(claims.get("exp"), f"the expiry of {what}", 0, 2**40)
        short = begin < end <= begin + PERMIT_SECONDS
        require(short, f"{what} is not one of at most {PERMIT_SECONDS} seconds")
        valid = begin - SKEW_SECONDS <= seconds < end
        require(valid, f"{what} was not valid when it was used")
        permits.append((permit.action, permit.run, permit.program))
    require(len(set(permits)) == 1, "the permits are for different programs")
    return f"{len(permits)} for `{permits[0][0]}` on the same request as the receipt"


def program_is_the_permitted_one(file: dict[str, Any], _trust: dict[str, Any]) -> str:
    """Check that permits, statement and entry name the program that the file names."""
    permit, statement = Permit(file["grants"][0]["permit"]), file["statement"]
    program = file["program"]
    require(permit.program == program, "the permits are for another program")
    if statement is not None:
        require(statement["model"] == program, "the witness's statement is about another program")
        ran = permit.run or permit.action
        require(statement["program"] == ran, "the statement is about another action")
    named = file["entry"]["digests"].get("program", [])
    require(named == ([program] if program else []), "the log's entry names another program")
    return program or "none is named, as for the release of a record"


def witnesses_signed(file: dict[str, Any], trust: dict[str, Any]) -> str:
    """Check that every trusted witness signed the result of an encrypted decision."""
    action, statement = Permit(file["grants"][0]["permit"]).action, file["statement"]
    if action not in WITNESSED:
        require(statement is None, f"there is a witness's statement about a `{action}`")
        return f"none is needed for a `{action}`"
    require(trust["witnesses"], "the trust file names no witness")
    require(statement is not None, "no witness has signed the result")
    for name, key in trust["witnesses"].items():
        signature = bytes.fromhex(statement["signatures"].get(key, ""))
        require(signed(key, signature, _witnessed(statement)), f"{name} has not signed it")
    return f"{', '.join(trust['witnesses'])} signed the result {statement['result']}"


def _witnessed(statement: dict[str, Any]) -> bytes:
    """Return the bytes that a witness signs: a domain, and JSON in ASCII with sorted names."""
    content = {name: each for name, each in statement.items() if name != "signatures"}
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return b"triseal witness statement 1\n" + encoded.encode()


def entry_names_everything(file: dict[str, Any], _trust: dict[str, Any]) -> str:
    """Check that the log's entry is of this use: it names all documents and no others."""
    entry, grants, statement = file["entry"], file["grants"], file["statement"]
    expected = {
        "request": {grant["receipt"]["triseal:request"] for grant in grants},
        "receipt": {digest(grant["receipt"]) for grant in grants},
        "permit": {hashlib.sha256(grant["permit"].encode()).hexdigest() for grant in grants},
        "statement": {hashlib.sha256(_witnessed(statement)).hexdigest()} if statement else set(),
    }
    if statement:
        expected["result"] = {statement["result"]}
    done = entry["kind"] == "use" and entry["outcome"] == "done"
    require(done, "the log's entry is not of a use that was done")
    for name, each in expected.items():
        named = set(entry["digests"].get(name, ()))
        require(named == each, f"the log's entry names another {name}")
    return f"the use of {entry['time']} names these requests, receipts and permits"


def log_signed(file: dict[str, Any], trust: dict[str, Any]) -> str:
    """Check the log's signature of the checkpoint."""
    size, root = Note(file["checkpoint"]).checkpoint(trust["log"])
    return f"{trust['log']['origin']} with {size} entries, root {root.hex()}"


def cosigners_signed(file: dict[str, Any], trust: dict[str, Any]) -> str:
    """Check the cosignatures of the checkpoint."""
    found = Note(file["checkpoint"]).cosigners(trust["cosigners"], trust["least"])
    return ", ".join(f"{name} at {seconds}" for name, seconds in found.items())


def entry_is_included(file: dict[str, Any], trust: dict[str, Any]) -> str:
    """Check that the checkpoint's log contains the entry."""
    size, root = Note(file["checkpoint"]).checkpoint(trust["log"])
    proof = [bytes.fromhex(each) for each in file["inclusion"]["hashes"]]
    index = file["inclusion"]["index"]
    verify_inclusion(leaf_hash(canonical(file["entry"])), index, size, proof, root)
    return f"the log contains it as entry {index} of {size}"


CHECKS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "receipts": receipts_are_signed,
    "permits": permits_are_for_this_use,
    "program": program_is_the_permitted_one,
    "witness": witnesses_signed,
    "log entry": entry_names_everything,
    "checkpoint": log_signed,
    "cosignatures": cosigners_signed,
    "inclusion": entry_is_included,
}


def check_decision(data: bytes, trust_data: bytes) -> Iterator[tuple[bool, str, str]]:
    """Yield for each check whether it passed, its name, and what it found or why it failed."""
    try:
        trust = read_trust(trust_data)
        file = read_decision(data)
    except Refused as error:
        yield False, "file", str(error)
        return
    yield True, "file", f"{len(data)} bytes, {len(file['grants'])} receipts and permits"
    for name, check in CHECKS.items():
        try:
            yield True, name, check(file, trust)
        except Refused as error:
            yield False, name, str(error)
            if name in ("receipts", "permits"):
                return  # what follows reads them


def check_checkpoints(
    earlier: bytes, later: bytes, proof_data: bytes | None, trust_data: bytes
) -> Iterator[tuple[bool, str, str]]:
    """Yield the checks of two checkpoints of one log, in the order in which they were seen."""
    try:
        trust = read_trust(trust_data)
        found = []
        for name, data in (("earlier", earlier), ("later", later)):
            size, root = Note(_decoded(data)).checkpoint(trust["log"])
            yield True, name, f"{size} entries, root {root.hex()}"
            found.append((size, root))
        (old, old_root), (new, new_root) = found
        require(new >= old, f"the log was rolled back from {old} to {new} entries")
        if new == old:
            require(old_root == new_root, f"a fork: two different logs of {old} entries")
            yield True, "same", "both are of the same log"
            return
        if proof_data is None and old:
            raise Refused("give --proof, a consistency proof, to show that the log only grew")
        proof = b'{"hashes":[]}' if proof_data is None else proof_data
        document = fields(read_json(proof, LARGEST_TRUST, "proof"), "hashes", "the proof")
        hashes = list_of(document["hashes"], "the proof", 0, MOST_HASHES)
        raw = [bytes.fromhex(text(each, "a hash of the proof", HEX_256)) for each in hashes]
        verify_consistency(old, new, raw, old_root, new_root)
        yield True, "grown", f"the first {old} of {new} entries are unchanged"
    except Refused as error:
        yield False, "checkpoints", str(error)


def _decoded(data: bytes) -> str:
    require(len(data) <= LARGEST_NOTE, f"a checkpoint has more than {LARGEST_NOTE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused("a checkpoint is not text in UTF-8") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - nothing is imported for it
        return file.read(LARGEST_FILE + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("decision_file", nargs="?", help="the decision file to check")
    parser.add_argument(
        "--checkpoints",
        nargs=2,
        metavar=("EARLIER", "LATER"),
        help="two checkpoints of one log to check instead, with --proof",
    )
    parser.add_argument("--proof", help="a consistency proof between the two checkpoints")
    parser.add_argument("--trust", required=True, help="the keys that you trust")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not have every character
            stream.reconfigure(errors="backslashreplace")
    if (given.decision_file is None) == (given.checkpoints is None):
        parser.error("give either a decision file or --checkpoints")
    try:
        trust = _read(given.trust)
        if given.checkpoints:
            proof = _read(given.proof) if given.proof else None
            earlier, later = map(_read, given.checkpoints)
            checks = list(check_checkpoints(earlier, later, proof, trust))
        else:
            checks = list(check_decision(_read(given.decision_file), trust))
    except OSError as error:
        checks = [(False, "file", f"{error.filename} cannot be read: {error.strerror}")]
    for passed, name, found in checks:
        # Texts from the file must not write to a terminal in another way than as text.
        line = f"{'ok' if passed else 'FAILED':<7}{name:<14}{found}"
        print(line.encode("ascii", "backslashreplace").decode())
    return 0 if all(passed for passed, _, _ in checks) else 1


def _run() -> int:
    """Call `main`; returns the exit status, also if the reader of the output has gone."""
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(_run())
