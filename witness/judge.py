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
from engines.interface import ServerEngine
from engines.statement import Statement, slot_name
from utils.errors import EngineError, EvaluationFailed, ResultDiffers

Messages = Mapping[tuple[str, str], bytes]


@dataclass(frozen=True)
class Judgement:
    """A signature of 64 bytes, or the reason for a refusal."""

    signature: bytes | None = None
    refusal: Refusal | None = None


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

    def judge(
        self, application: str, program: str, messages: Messages, result: bytes, seed: bytes
    ) -> Judgement:
        """Evaluate again and compare; raises EvaluationFailed if there is not enough memory."""
        try:
            self.engine.recheck(program, messages, seed, result)
        except EvaluationFailed:
            raise  # no fault of the server; the task stays open
        except ResultDiffers:
            return Judgement(refusal="result_differs")
        except EngineError:
            return Judgement(refusal="messages_refused")
        statement = Statement(
            application=application,
            program=program,
            model_sha256=self._model,
            messages={
                slot_name(*key): hashlib.sha256(messages[key]).hexdigest()
                for key in self.slots(program)
            },
            result_sha256=hashlib.sha256(result).hexdigest(),
        )
        return Judgement(signature=statement.sign(self._key))
