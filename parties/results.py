"""What each step of an application gives back: the facts that a page or a script can show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from engines.envelope import unseal
from model.explanation import Explanation
from utils.errors import MalformedMessage

SERVER = "server"
ALL = "all"
"""The receiver of what is for every party."""
PREVIEW_BYTES = 64
_PLACES = 256


@dataclass(frozen=True)
class Message:
    """One message that travelled; `size` in bytes, `seconds` on its way.

    `preview` is hexadecimal, of a few bytes of the payload; empty for plain requests. `relayed`
    says that a message from party to party went through the server, sealed.
    """

    sender: str
    receiver: str
    what: str
    size: int
    seconds: float
    sha256: str = ""
    preview: str = ""
    relayed: bool = False


@dataclass(frozen=True)
class KeysMade:
    """New keys: `holder` made them, `shared_with` were given the secret key.

    `evaluation_bytes` is 0 for an engine that needs no evaluation key. Where the keys are `joint`,
    there is no holder: every party of `parts_of` made a secret of `secret_bytes` that stays with
    it, `evaluation_bytes` is the public key's size, and all parties see the same `fingerprint`.
    """

    client_id: str
    holder: str
    shared_with: tuple[str, ...]
    secret_bytes: int
    evaluation_bytes: int
    seconds: float
    messages: tuple[Message, ...]
    joint: bool = False
    parts_of: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class SliceSent:
    """One party's record, encrypted and sent; `bits` is how many it was encoded as.

    `client_id` differs from before where a decided application had to be opened afresh; then
    `messages` begin with what was sent again for the others, and where keys are joint, `keys` are
    the new ones.
    """

    client_id: str
    party: str
    bits: int
    size: int
    encrypt_seconds: float
    send_seconds: float
    sha256: str
    preview: str
    fresh: bool
    messages: tuple[Message, ...]
    keys: KeysMade | None = None


@dataclass(frozen=True)
class ProgramRun:
    """One evaluation: `seconds` on the server, `waited` as the party saw it."""

    client_id: str
    program: str
    seconds: float
    waited: float
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Decision:
    """The opened decision: approved from a score of 0 up.

    `score` and `log_odds` are None where the program opens the decision alone. `reach` is the
    largest score, either way, that the program can give.
    """

    client_id: str
    approved: bool
    score: float | None
    log_odds: float | None
    reach: float
    size: int
    seconds: float
    sha256: str
    preview: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ExplanationOpened:
    """The opened explanation; `run_seconds` on the server, `seconds` to fetch and decrypt."""

    client_id: str
    explanation: Explanation
    run_seconds: float
    size: int
    seconds: float
    messages: tuple[Message, ...]


def digest(message: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(message).hexdigest()


def preview(message: bytes) -> str:
    """Hexadecimal of up to PREVIEW_BYTES bytes of a message's payload.

    Formats begin and part with headers of their own; of some evenly spaced places, the one with
    the most different bytes is taken, which is where the ciphertext itself lies.
    """
    try:
        _, payload = unseal(message)
    except MalformedMessage:  # a tool that seals otherwise; show what there is
        payload = memoryview(message)
    last = max(0, len(payload) - PREVIEW_BYTES)
    step = max(PREVIEW_BYTES // 4, last // _PLACES, 1)
    windows = (payload[start : start + PREVIEW_BYTES] for start in range(0, last + 1, step))
    return max(windows, key=lambda window: len(set(window))).hex()
