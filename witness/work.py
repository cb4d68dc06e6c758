"""The witness's loop: wait for a task, evaluate, judge the result, state it, cosign the log.

It evaluates a run that is still active at the server, so that the statement comes soon after the
result. Finished runs go first.
"""

from __future__ import annotations

import logging
import threading
from time import perf_counter

from contract.http import Refusal, WitnessTask
from parties.cosigner import Cosigner
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
from witness.judge import Evaluated, Judge, Judgement
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
        self,
        client: WitnessClient,
        judge: Judge,
        status: Status,
        stop: threading.Event,
        cosigner: Cosigner | None = None,
    ) -> None:
        self._client, self._judge, self._status, self._stop = client, judge, status, stop
        self._cosigner = cosigner
        self._begun: dict[str, Evaluated | Refusal] = {}

    def run(self) -> None:
        """Work until stopped; an error is shown in the status, and the call repeated later."""
        pause, seen = PAUSE_SECONDS, ""
        while not self._stop.is_set():
            seen, error = self._round(seen)
            self._status.problem("" if error is None else error.message)
            if error is None:
                pause = PAUSE_SECONDS
                continue
            log.warning("%s", error.message)
            seconds = error.retry_seconds if isinstance(error, ServerBusy) else pause
            self._stop.wait(max(pause, min(seconds, LONGEST_PAUSE_SECONDS)))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _round(self, seen: str) -> tuple[str, TrisealError | None]:
        """Do every finished task, or else begin one active task.

        Takes and returns the tag of tasks with which nothing is left to do, or "", and returns the
        last error, which keeps no other task waiting.
        """
        try:
            found = self._client.tasks(WAIT_SECONDS, seen)
        except TrisealError as error:
            return "", error
        listed = {task.id for task in found.items}
        self._begun = {task: own for task, own in self._begun.items() if task in listed}
        done = [task for task in found.items if task.done]
        new = [task for task in found.items if not task.done and task.id not in self._begun]
        last: TrisealError | None = None
        for task in done or new[:1]:
            try:
                self._do(task)
            except TrisealError as error:
                last = error
            except Exception:
                log.exception("task %s", task.id[:8])
                last = EvaluationFailed(
                    f"Application {task.client_id[:8]} could not be checked because of an internal "
                    "error; the witness's log has the details. It is tried again."
                )
        try:
            if self._cosigner is not None and not new:  # evaluations go first
                self._cosigner.cosign()
        except TrisealError as error:
            last = last or error
        return "" if done or new else found.tag, last

    def _do(self, task: WitnessTask) -> None:
        """Begin a task, and finish it if its run is done."""
        start = perf_counter()
        try:
            begun = self._begun.get(task.id)
            if begun is None:
                begun = self._begun[task.id] = self._evaluated(task)
            if not task.done:
                return
            found = self._judged(task, begun)
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

    def _evaluated(self, task: WitnessTask) -> Evaluated | Refusal:
        judge, program = self._judge, task.program
        slots = judge.slots(program)
        if not judge.holds(program, task.model_sha256):
            return "other_model"
        if {(each.party, each.file_name) for each in task.messages} != set(slots):
            return "messages_refused"
        try:
            messages = {
                key: self._client.message(task.id, *key, limit) for key, limit in slots.items()
            }
        except MalformedMessage:  # larger than the slot
            return "messages_refused"
        return judge.evaluate(task.client_id, program, messages)

    def _judged(self, task: WitnessTask, begun: Evaluated | Refusal) -> Judgement:
        if not isinstance(begun, Evaluated):
            return Judgement(refusal=begun)
        found = self._client.result(task.id)
        return self._judge.judge(begun, found.result, found.seed)
