"""Checkpoints of the log, signed by the log and cosigned by the parties and the witness.

A checkpoint names the log, its number of entries and its root. It is a signed note, a text with
Ed25519 signatures (RFC 8032) that any tool for these formats reads:

- signed-note (c2sp.org/signed-note, 2024): the text, an empty line, and a line for each signature.
  A key's id is the first 4 bytes of SHA-256(name, LF, type, public key); the type of a log's key
  is 0x01, of a cosigner's 0x04.
- tlog-checkpoint (c2sp.org/tlog-checkpoint, 2024): the text is origin, size and root, a line each.
  Extension lines, which that document advises against, are refused.
- tlog-cosignature (c2sp.org/tlog-cosignature, cosignature/v1): a cosigner signs the text after two
  lines `cosignature/v1` and `time <seconds since 1970>`. It states that this was the largest tree
  that the cosigner had seen of this log, and that it continues all those that it signed before.

Two readers of one log whose checkpoints have signatures of the same honest cosigner see the same
log. This rests on the rule in `CosignerState`: a cosigner never signs a smaller or forked tree.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from governance.canonical import canonical
from governance.log.merkle import EMPTY_ROOT, HASH_BYTES, LARGEST_SIZE, verify_consistency
from utils.errors import LogInconsistent, ProofInvalid
from utils.strict_json import parse_json

LOG_KEY, COSIGNER_KEY = 0x01, 0x04
"""Types of signatures in signed-note."""
LARGEST_NOTE = 16 * 1024
"""Bytes of the largest note that is read."""
MOST_SIGNATURES = 32
"""Signature lines of a note; the format asks for at least 16."""
LARGEST_TIME = 2**53 - 1
"""Seconds since 1970 of the latest cosignature; the format allows up to 2^63 - 1."""
_SIGNATURE_BYTES, _ID_BYTES, _TIME_BYTES = 64, 4, 8
_NAME = re.compile(r"[^\s+]{1,128}")
_LINE = re.compile(r"— ([^\s+]{1,128}) ([A-Za-z0-9+/]{8,7000}={0,2})")
_BODY = re.compile(r"([^\s+]{1,128})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True)
class Checkpoint:
    """The size and the root (32 bytes) of the log named `origin`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text; raises ProofInvalid if a field has no place in it."""
        _require_name(self.origin)
        if not 0 <= self.size <= LARGEST_SIZE or len(self.root) != HASH_BYTES:
            raise ProofInvalid("A checkpoint has a size from 0 on and a root of 32 bytes.")
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a note's text; raises ProofInvalid."""
        match = _BODY.fullmatch(text)
        root = _decoded(match[3]) if match else None
        if match is None or root is None or int(match[2]) > LARGEST_SIZE:
            raise ProofInvalid(
                "The note is not a checkpoint: its three lines must be the log's name, its size "
                "and its root in base64. Ask the log for the checkpoint again."
            )
        return cls(match[1], int(match[2]), root)


@dataclass(frozen=True)
class SignatureLine:
    """A note's signature by `name`: the key's id of 4 bytes, and what its type defines."""

    name: str
    key_id: bytes
    signature: bytes

    def text(self) -> str:
        """Return the line, with its line feed."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A signed note; nothing in it is verified yet."""

    body: str
    signatures: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a note; raises ProofInvalid.

        No two lines may be by one key, so that there is one time of each cosigner.
        """
        if _bytes_of(text) > LARGEST_NOTE:
            raise ProofInvalid(
                f"A note has at most {LARGEST_NOTE} bytes. Ask the log for it again."
            )
        body, separator, signatures = text.rpartition("\n\n")
        lines = signatures.removesuffix("\n").split("\n")
        if not separator or not body or not signatures.endswith("\n") or _has_control(text):
            raise _malformed()
        if len(lines) > MOST_SIGNATURES:
            raise ProofInvalid(f"A note has at most {MOST_SIGNATURES} signatures. Leave out some.")
        found = tuple(_line(line) for line in lines)
        if len({(each.name, each.key_id) for each in found}) < len(found):
            raise ProofInvalid("A note has two signatures by one key. Leave out one of them.")
        return cls(body + "\n", found)

    def text(self) -> str:
        """Return the note as it is sent."""
        return self.body + "\n" + "".join(each.text() for each in self.signatures)

    def with_lines(self, lines: Sequence[str]) -> Self:
        """Return the note with further signature lines, such as cosignatures; raises ProofInvalid.

        A line replaces an earlier one by the same key.
        """
        added = [_line(line.removesuffix("\n")) for line in lines]
        kept = {(each.name, each.key_id): each for each in (*self.signatures, *added)}
        if len(kept) > MOST_SIGNATURES:
            raise ProofInvalid(f"A note has at most {MOST_SIGNATURES} signatures. Leave out some.")
        return type(self)(self.body, tuple(kept.values()))


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """Return the id of a public key of 32 bytes, 4 bytes."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:_ID_BYTES]


def verifier_key(name: str, kind: int, public: bytes) -> str:
    """Return the text by which tools for signed notes are told of a key (a vkey)."""
    encoded = base64.b64encode(bytes([kind]) + public).decode()
    return f"{name}+{key_id(name, kind, public).hex()}+{encoded}"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> Note:
    """Return the checkpoint as a note that the log signed; its key's name is the origin."""
    body = checkpoint.text()
    public = key.public_key().public_bytes_raw()
    identifier = key_id(checkpoint.origin, LOG_KEY, public)
    return Note(body, (SignatureLine(checkpoint.origin, identifier, key.sign(body.encode())),))


def verify_checkpoint(note: Note, origin: str, key: bytes) -> Checkpoint:
    """Return the checkpoint of the log named `origin`, whose public key is `key` (32 bytes).

    Raises ProofInvalid if the log has not signed it.
    """
    checkpoint = Checkpoint.parse(note.body)
    line = _by(note, origin, LOG_KEY, key)
    if checkpoint.origin != origin or line is None or not _signed(key, line, note.body):
        raise ProofInvalid(
            f"The checkpoint is not signed by the log {origin[:60]} with the key that you trust. "
            "Compare the key with the log's operator."
        )
    return checkpoint


def cosignature(body: str, name: str, key: Ed25519PrivateKey, seconds: int) -> str:
    """Return the line by which `name` cosigns a checkpoint's text at a time since 1970.

    Call `CosignerState.cosign` instead wherever a cosigner's own rule has to hold.
    """
    _require_name(name)
    if not 0 <= seconds <= LARGEST_TIME:
        raise ProofInvalid("The time of a cosignature is in seconds since 1970. Set the clock.")
    public = key.public_key().public_bytes_raw()
    signature = seconds.to_bytes(_TIME_BYTES, "big") + key.sign(_cosigned(body, seconds))
    return SignatureLine(name, key_id(name, COSIGNER_KEY, public), signature).text()


def cosigned_at(note: Note, name: str, key: bytes) -> int | None:
    """Return when a cosigner signed, in seconds since 1970; None if it has not.

    Raises ProofInvalid if there is a line by its key that does not verify.
    """
    line = _by(note, name, COSIGNER_KEY, key)
    if line is None:
        return None
    seconds = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    bare = SignatureLine(line.name, line.key_id, line.signature[_TIME_BYTES:])
    if seconds > LARGEST_TIME or not _signed(key, bare, _cosigned(note.body, seconds).decode()):
        raise ProofInvalid(
            f"The cosignature by {name[:60]} does not belong to this checkpoint: one of the two "
            "was altered. Ask the log for the checkpoint again."
        )
    return seconds


def require_cosigners(
    note: Note, cosigners: Mapping[str, bytes], least: int | None = None
) -> dict[str, int]:
    """Return the times of the cosignatures, by cosigner, if enough have signed a checkpoint.

    `cosigners` has the public key (32 bytes) of each; all of them must have signed, or `least` of
    them. Raises ProofInvalid, also if no cosigner is named, or if two share a key.
    """
    if not cosigners:
        raise ProofInvalid("No cosigner is named: name at least one whom you trust, and its key.")
    if len(set(cosigners.values())) < len(cosigners):
        raise ProofInvalid("Two cosigners have the same key. Ask both for their own keys.")
    needed = len(cosigners) if least is None else least
    if not 1 <= needed <= len(cosigners):
        raise ProofInvalid(f"Require from 1 to {len(cosigners)} of the cosigners, not {needed}.")
    times = {name: cosigned_at(note, name, key) for name, key in cosigners.items()}
    found = {name: seconds for name, seconds in times.items() if seconds is not None}
    if len(found) < needed:
        missing = ", ".join(name[:60] for name in cosigners if name not in found)
        raise ProofInvalid(
            f"The checkpoint is cosigned by {len(found)} of the {needed} cosigners that are "
            f"required; {missing} did not sign. Ask the log for a checkpoint with them."
        )
    return found


@dataclass(frozen=True)
class CosignerState:
    """A cosigner's memory of one log: the size and root (32 bytes) that it signed last.

    The caller writes the new state to disk before it hands out the line, so that a crash between
    the two loses a line and never the memory of one.
    """

    origin: str
    size: int = 0
    root: bytes = EMPTY_ROOT

    def cosign(
        self,
        note: Note,
        log_key: bytes,
        old: int,
        proof: Sequence[bytes],
        *,
        name: str,
        key: Ed25519PrivateKey,
        seconds: int,
    ) -> tuple[str, CosignerState]:
        """Return the cosignature's line and the state to keep.

        `proof` is the consistency proof from `old`, which must be the size of this state. Raises
        LogInconsistent if the log is smaller than that or was forked, ProofInvalid if the note or
        the proof is not valid.
        """
        checkpoint = verify_checkpoint(note, self.origin, log_key)
        if old != self.size:
            raise LogInconsistent(
                f"{name[:60]} last signed this log at {self.size} entries, and the proof begins at "
                f"{old}. Send a proof from {self.size} entries."
            )
        verify_consistency(self.size, checkpoint.size, proof, self.root, checkpoint.root)
        line = cosignature(note.body, name, key, seconds)
        return line, CosignerState(self.origin, checkpoint.size, checkpoint.root)

    def to_bytes(self) -> bytes:
        """Return the state for a file."""
        return canonical({"origin": self.origin, "root": self.root.hex(), "size": self.size})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a state; raises LogInconsistent if it is damaged, since a new one forgets forks."""
        try:
            found = parse_json(data[:LARGEST_NOTE])
            state = cls(str(found["origin"]), found["size"], bytes.fromhex(found["root"]))
            if isinstance(state.size, bool):
                raise ValueError("the size is not a number")
            Checkpoint(state.origin, state.size, state.root).text()
        except (ValueError, TypeError, KeyError, ProofInvalid) as error:
            raise LogInconsistent(
                "The file with the last cosigned checkpoint is damaged. Restore it from a backup; "
                "without it, a rolled back log would be signed."
            ) from error
        if state.to_bytes() != data:
            raise LogInconsistent(
                "The file with the last cosigned checkpoint was changed by hand. Restore it."
            )
        return state


def _cosigned(body: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{body}".encode()


def _by(note: Note, name: str, kind: int, key: bytes) -> SignatureLine | None:
    identifier = key_id(name, kind, key)
    lines = (each for each in note.signatures if each.name == name and each.key_id == identifier)
    return next(lines, None)


def _signed(key: bytes, line: SignatureLine, message: str) -> bool:
    if len(line.signature) != _SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(line.signature, message.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _line(text: str) -> SignatureLine:
    match = _LINE.fullmatch(text)
    data = _decoded(match[2]) if match else None
    if match is None or data is None or len(data) <= _ID_BYTES:
        raise _malformed()
    return SignatureLine(match[1], data[:_ID_BYTES], data[_ID_BYTES:])


def _decoded(text: str) -> bytes | None:
    """Return the bytes of a base64 text; None unless it is the one text of these bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data).decode() == text else None


def _bytes_of(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _malformed() from error


def _has_control(text: str) -> bool:
    return any(each < " " and each != "\n" for each in text)


def _require_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ProofInvalid(
            "The name of a log or cosigner has up to 128 characters, without spaces or `+`, such "
            "as example.com/log."
        )


def _malformed() -> ProofInvalid:
    return ProofInvalid(
        "The text is not a signed note: it must end with an empty line and lines `— name "
        "signature`. Ask the log for it again."
    )
