"""The witness's loop: wait for a task, fetch what it needs, judge it, send the statement."""

from __future__ import annotations

import logging
import threading
from time import perf_counter

from contract.http import WitnessTask
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    EvaluationFailed,
    MalformedMessage,
    ServerBusy,
    TrisealError,
    UnknownApplication,
    UnknownName,
)
from witness.client import WitnessClient
from witness.judge import Judge, Judgement
from witness.status import Status

WAIT_SECONDS = 20.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
"""Pause after an error; it doubles with each one."""

log = logging.getLogger("triseal.witness")

_OVER = (UnknownName, UnknownApplication, ApplicationExpired, AlreadySent)
"""Errors that end a task: the application has ended, or the statement is made."""


class Work:
    """Does a witness's tasks until `stop` is set."""

    def __init__(
        self, client: WitnessClient, judge: Judge, status: Status, stop: threading.Event
    ) -> None:
        self._client, self._judge, self._status, self._stop = client, judge, status, stop

    def run(self) -> None:
        """Work until stopped; an error is shown in the status, and the call repeated later."""
        pause = PAUSE_SECONDS
        while not self._stop.is_set():
            error = self._round()
            self._status.problem("" if error is None else error.message)
            if error is None:
                pause = PAUSE_SECONDS
                continue
            log.warning("%s", error.message)
            seconds = error.retry_seconds if isinstance(error, ServerBusy) else pause
            self._stop.wait(max(pause, min(seconds, LONGEST_PAUSE_SECONDS)))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _round(self) -> TrisealError | None:
        """Do every open task; return the last error, which keeps no other task waiting."""
        found: TrisealError | None = None
        try:
            tasks = self._client.tasks(WAIT_SECONDS).items
        except TrisealError as error:
            return error
        for task in tasks:
            try:
                self._do(task)
            except TrisealError as error:
                found = error
            except Exception:
                log.exception("task %s", task.id[:8])
                found = EvaluationFailed(
                    f"Application {task.client_id[:8]} could not be checked because of an internal "
                    "error; the witness's log has the details. It is tried again."
                )
        return found

    def _do(self, task: WitnessTask) -> None:
        start = perf_counter()
        try:
            found = self._judged(task)
            self._client.state(task.id, found.signature, found.refusal)
        except _OVER as error:
            log.info("task %s: %s", task.id[:8], error.message)
            return
        seconds = perf_counter() - start
        self._status.said(task.client_id, task.program, found.refusal, seconds)
        log.info(
            "application %s, %s: %s in %.0f ms",
            *(task.client_id[:8], task.program, found.refusal or "signed", 1000 * seconds),
        )

    def _judged(self, task: WitnessTask) -> Judgement:
        judge, program = self._judge, task.program
        slots = judge.slots(program)
        if not judge.holds(program, task.model_sha256):
            return Judgement(refusal="other_model")
        if {(each.party, each.file_name) for each in task.messages} != set(slots):
            return Judgement(refusal="messages_refused")
        try:
            messages = {
                key: self._client.message(task.id, *key, limit) for key, limit in slots.items()
            }
        except MalformedMessage:  # larger than the slot
            return Judgement(refusal="messages_refused")
        found = self._client.result(task.id)
        return judge.judge(task.client_id, program, messages, found.result, found.seed)
