"""The witness's judgement of one task: sign the result, or refuse it for a reason.

Nothing that the server says is believed: the digests in the statement are those of the bytes that
the witness itself fetched and evaluated. If the server gave it other messages than the parties
agreed to, the parties' statement differs and the signature does not verify.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.http import Refusal
from engines.interface import Outcome, ServerEngine
from engines.statement import Statement, slot_name
from utils.errors import EngineError, EvaluationFailed

Messages = Mapping[tuple[str, str], bytes]


@dataclass(frozen=True)
class Judgement:
    """A signature of 64 bytes, or the reason for a refusal."""

    signature: bytes | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Evaluated:
    """The witness's own evaluation of a program, and the SHA-256 of every message that it used."""

    application: str
    program: str
    messages: Mapping[str, str]
    outcome: Outcome


class Judge:
    """Judges results with the witness's own engine and key."""

    def __init__(self, engine: ServerEngine, key: Ed25519PrivateKey) -> None:
        self.engine, self._key = engine, key
        self._model = engine.public.digest

    def slots(self, program: str) -> dict[tuple[str, str], int]:
        """Return the messages that a program uses, and their maximum bytes; empty if unknown."""
        slots = self.engine.public.slots if program in self.engine.public.programs else ()
        return {
            (slot.party, slot.file_name): slot.maximum_bytes
            for slot in slots
            if program in slot.needed_for
        }

    def holds(self, program: str, model: str) -> bool:
        """Return True if the witness has this program of the model with this SHA-256."""
        return model == self._model and program in self.engine.public.programs

    def evaluate(self, application: str, program: str, messages: Messages) -> Evaluated | Refusal:
        """Evaluate a program again; returns a refusal if the messages do not allow it.

        Raises EvaluationFailed if there is not enough memory.
        """
        try:
            outcome = self.engine.outcome(program, messages)
        except EvaluationFailed:
            raise  # no fault of the server; the task stays open
        except EngineError:
            return "messages_refused"
        digests = {
            slot_name(*key): hashlib.sha256(messages[key]).hexdigest()
            for key in self.slots(program)
        }
        return Evaluated(application, program, digests, outcome)

    def judge(self, evaluated: Evaluated, result: bytes, seed: bytes) -> Judgement:
        """Compare a result with the witness's own evaluation, and sign it if they agree."""
        try:
            self.engine.recheck(evaluated.program, evaluated.outcome, seed, result)
        except EngineError:
            return Judgement(refusal="result_differs")
        statement = Statement(
            application=evaluated.application,
            program=evaluated.program,
            model_sha256=self._model,
            messages=evaluated.messages,
            result_sha256=hashlib.sha256(result).hexdigest(),
        )
        return Judgement(signature=statement.sign(self._key))
