"""Results of the steps of an application, for pages and scripts to show."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from contract.http import ProgramState
from engines.envelope import unseal
from engines.interface import DECIDE, EXPLAIN, REASONS, SIGN_OF, PublicModel
from features.schema import Reason, Schema
from model.explanation import Explanation
from model.reasons import principal_reasons
from utils.errors import EngineUnavailable, MalformedMessage

SERVER = "server"
ALL = "all"
"""The receiver of messages to every party."""
PROGRAM_WORDS = {
    DECIDE: "the decision",
    EXPLAIN: "the explanation",
    SIGN_OF[DECIDE]: "the decision's sign",
    SIGN_OF[EXPLAIN]: "the explanation's signs",
    REASONS: "the reasons",
    SIGN_OF[REASONS]: "the levels of the reasons",
}
"""Programs in words."""
PREVIEW_BYTES = 64
_PLACES = 256


@dataclass(frozen=True)
class Message:
    """One message that was sent; `size` in bytes, `seconds` for the transfer.

    `preview` is a few bytes of the payload in hexadecimal, empty for plain requests. `relayed` is
    True for a sealed message from party to party that went through the server.
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
    """New keys: `holder` made them and gave the secret key to the parties of `shared_with`.

    `evaluation_bytes` is 0 for an engine that needs no evaluation key. If the keys are `joint`,
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
    """One party's record, encrypted and sent; `bits` is the number of bits it was encoded as.

    With joint keys, the ciphertext is uploaded once all parties have committed to theirs. Until
    then `waits` is True, and `send_seconds` is the time of the commitment.

    `client_id` is new if the application had been decided and a new one was opened. Then `messages`
    begin with those sent again for the other parties, and `keys` are the new keys if keys are
    joint.
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
    waits: bool = False

    def uploaded(self, upload: Message) -> Self:
        """Return the same with the time of the upload, which has arrived."""
        return replace(self, waits=False, send_seconds=upload.seconds)


@dataclass(frozen=True)
class ProgramRun:
    """One evaluation: `seconds` on the server, `waited` seconds for the party.

    `loading_seconds` is the time that the server took to load the key before it.
    """

    client_id: str
    program: str
    seconds: float
    waited: float
    messages: tuple[Message, ...]
    loading_seconds: float = 0.0

    @classmethod
    def of(
        cls,
        client_id: str,
        program: str,
        found: ProgramState,
        waited: float,
        messages: tuple[Message, ...],
    ) -> Self:
        """Return the run whose state on the server is `found`."""
        seconds, loading = found.seconds or 0.0, found.loading_seconds or 0.0
        return cls(client_id, program, seconds, waited, messages, loading)


@dataclass(frozen=True)
class Decision:
    """The opened decision: approved if the score is 0 or more.

    `referred` is True if it lies in the grey zone below, so that a person of the lender decides.
    `score` and `log_odds` are None if the program returns only the decision. `reach` is the largest
    absolute value of a score that the program can return.
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
    referred: bool = False

    def word(self, schema: Schema) -> str:
        """Return the outcome in the schema's words."""
        if self.referred:
            return schema.decision.referred
        return schema.decision.approved if self.approved else schema.decision.denied

    @property
    def opened(self) -> float:
        """The opened value: the score or, if only the decision is returned, 0 or -1 (denied)."""
        sign = 0.0 if self.approved else -1.0
        return sign if self.score is None else self.score


@dataclass(frozen=True)
class ExplanationOpened:
    """The opened explanation; `run_seconds` on the server, `seconds` to fetch and decrypt."""

    client_id: str
    explanation: Explanation
    run_seconds: float
    size: int
    seconds: float
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ReasonsOpened:
    """The opened reasons; `run_seconds` on the server, `seconds` to fetch and decrypt.

    `values` has one value for each of `schema.stated_reasons`: points, or levels of points, by
    which the applicant lies below the average of approved applicants. `reasons` are the principal
    reasons for the denial, at most four, the weightiest first; none if the decision is `approved`.
    """

    client_id: str
    approved: bool
    reasons: tuple[Reason, ...]
    values: tuple[float, ...]
    run_seconds: float
    size: int
    seconds: float
    messages: tuple[Message, ...]

    @classmethod
    def of(
        cls,
        schema: Schema,
        client_id: str,
        approved: bool,
        values: Sequence[float],
        run: tuple[float, int, float],
        messages: tuple[Message, ...],
    ) -> Self:
        """Return the reasons of opened `values`.

        `run` has the seconds of the run, the bytes of the result and the seconds to fetch it.
        """
        principal = () if approved else tuple(principal_reasons(schema, values))
        return cls(client_id, approved, principal, tuple(values), *run, messages)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The reasons in the schema's wording."""
        return tuple(reason.text for reason in self.reasons)

    @property
    def text(self) -> str:
        """The reasons in one line."""
        numbered = [f"{i}. {sentence}" for i, sentence in enumerate(self.sentences, 1)]
        return " ".join([*numbered, self.remark])

    @property
    def remark(self) -> str:
        """One sentence on the reasons: their meaning, or why there are none."""
        if self.approved:
            return "The application was approved, so that no reasons are needed."
        if not self.reasons:
            return (
                "No reason that this model can state counts against the applicant, in comparison "
                "with the average of approved applicants."
            )
        return (
            "These are the reasons in this model, the weightiest first, in comparison with the "
            "average of approved applicants."
        )


def require_reasons(public: PublicModel) -> None:
    """Raise EngineUnavailable if the model states no reasons."""
    if REASONS not in public.programs:
        raise EngineUnavailable(
            "The server's model states no reasons. Ask its operator to compile the model again "
            "with this version, for the engine `levelled` or `clear`."
        )


def digest(message: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(message).hexdigest()


def preview(message: bytes) -> str:
    """Return up to PREVIEW_BYTES bytes of a message's payload, in hexadecimal.

    Formats have headers at the start and between parts. Of up to about _PLACES evenly spaced
    windows, the one with the most distinct bytes is used: it is part of the ciphertext itself.
    """
    try:
        _, payload = unseal(message)
    except MalformedMessage:  # not in the engines' envelope: preview the whole message
        payload = memoryview(message)
    last = max(0, len(payload) - PREVIEW_BYTES)
    step = max(PREVIEW_BYTES // 4, last // _PLACES, 1)
    windows = (payload[start : start + PREVIEW_BYTES] for start in range(0, last + 1, step))
    return max(windows, key=lambda window: len(set(window))).hex()
