"""Metrics for Prometheus: counts, durations and sizes, without any reference to applications.

The values of labels come from fixed lists (programs, slot names, outcomes, error codes). Any other
value becomes `other`, so that clients cannot put text into a label.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engines.interface import (
    CHALLENGE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLANATION_INPUTS,
    MASKED_OF,
    MASKS_OF,
    PROGRAMS,
    PUBLIC_KEY,
    SIGN_OF,
)
from utils.errors import error_classes
from web.problems import MEDIA_TYPE, TYPE_PREFIX

SLOT_NAMES = (
    *(PUBLIC_KEY, EVALUATION_KEY, ENCRYPTED_INPUTS, EXPLANATION_INPUTS, CHALLENGE),
    *(*MASKS_OF.values(), *MASKED_OF.values()),
)
PROGRAM_NAMES = (*PROGRAMS, *SIGN_OF.values())
DONE, FAILED, CANCELLED, ERASED = "done", "failed", "cancelled", "erased"
OUTCOMES = (DONE, FAILED, CANCELLED, ERASED)
"""`erased`: the application was erased, or expired, while its program ran."""
QUEUED, RUNNING = "queued", "running"
IN_ADVANCE, IN_RUN = "in_advance", "in_run"
"""Times at which an evaluation key is loaded: once it has arrived, or by a run that needs it."""
OTHER = "other"
SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

LEAST_LOADING_SECONDS = 0.001
"""Finding a loaded key takes less."""

# Creation times of counters add nothing to the server's start time and double the output.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one app, in a registry of its own; thread-safe."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._codes = frozenset(error_classes())
        self._applications = Gauge(
            "triseal_applications", "Applications that have not expired.", registry=registry
        )
        self._runs = Counter(
            "triseal_runs", "Ended runs.", ("program", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "triseal_evaluation_seconds",
            "Duration of finished evaluations in seconds, without the time in the queue.",
            ("program",),
            buckets=SECONDS,
            registry=registry,
        )
        self._key_loading = Histogram(
            "triseal_key_loading_seconds",
            "Time that loading an evaluation key took; in_run: that a run waited for it.",
            ("when",),
            buckets=SECONDS,
            registry=registry,
        )
        self._jobs = Gauge(
            "triseal_jobs",
            "Queued and running jobs, on all servers of the database.",
            ("state",),
            registry=registry,
        )
        self._received = Counter(
            "triseal_received_bytes", "Bytes of files received.", ("slot",), registry=registry
        )
        self._sent = Counter(
            "triseal_result_bytes", "Bytes of results sent.", ("program",), registry=registry
        )
        self._bytes_in = Counter(
            "triseal_request_bytes", "Bytes of request bodies read.", registry=registry
        )
        self._bytes_out = Counter(
            "triseal_response_bytes", "Bytes of response bodies.", registry=registry
        )
        self._problems = Counter(
            "triseal_problems", "Responses that report an error.", ("code",), registry=registry
        )
        self._relayed = Counter(
            "triseal_relay_messages", "Messages relayed between parties.", registry=registry
        )
        self._begin_at_zero()

    def ended(self, program: str, outcome: str) -> None:
        """Count a run that ended in one of OUTCOMES."""
        self._runs.labels(_listed(program, PROGRAM_NAMES), _listed(outcome, OUTCOMES)).inc()

    def evaluated(self, program: str, seconds: float) -> None:
        """Record the duration of an evaluation, in seconds."""
        self._seconds.labels(_listed(program, PROGRAM_NAMES)).observe(seconds)

    def loaded_key(self, when: str, seconds: float) -> None:
        """Record the time for loading a key, in seconds, unless it was loaded already.

        `when` is IN_ADVANCE or IN_RUN.
        """
        if seconds >= LEAST_LOADING_SECONDS:
            self._key_loading.labels(when).observe(seconds)

    def received(self, slot: str, size: int) -> None:
        """Count the bytes of a completely received file, valid or not."""
        self._received.labels(_listed(slot, SLOT_NAMES)).inc(size)

    def sent(self, program: str, size: int) -> None:
        """Count the bytes of a result sent to a party."""
        self._sent.labels(_listed(program, PROGRAM_NAMES)).inc(size)

    def relayed(self) -> None:
        """Count a message that a party sent to other parties."""
        self._relayed.inc()

    def travelled(self, came: int, went: int) -> None:
        """Count bytes of request bodies (`came`) and of response bodies (`went`)."""
        if came:
            self._bytes_in.inc(came)
        if went:
            self._bytes_out.inc(went)

    def refused(self, problem: bytes, status: int) -> None:
        """Count an error response by its code, or by `http-<status>` for plain HTTP errors."""
        kind = str(json.loads(problem)["type"])
        code = kind.removeprefix(TYPE_PREFIX)
        known = kind != code and code in self._codes
        self._problems.labels(code if known else f"http-{HTTPStatus(status).value}").inc()

    def text(self, *, applications: int, queued: int, running: int) -> bytes:
        """Return all metrics in Prometheus's text format, with the given current values."""
        self._applications.set(applications)
        self._jobs.labels(QUEUED).set(queued)
        self._jobs.labels(RUNNING).set(running)
        return generate_latest(self._registry)

    def _begin_at_zero(self) -> None:
        """Create each series at zero, since a rate misses the first value of a new series."""
        for program in PROGRAM_NAMES:
            self._seconds.labels(program)
            self._sent.labels(program)
            for outcome in OUTCOMES:
                self._runs.labels(program, outcome)
        for slot in SLOT_NAMES:
            self._received.labels(slot)
        for when in (IN_ADVANCE, IN_RUN):
            self._key_loading.labels(when)


class ProblemCount:
    """ASGI middleware that counts error responses and the bytes of all bodies.

    It counts the responses themselves, since an error may be caught and converted on its way.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0
        problem: bytearray | None = None

        async def counting_receive() -> Message:
            message = await receive()
            self.metrics.travelled(len(message.get("body", b"")), 0)
            return message

        async def counting_send(message: Message) -> None:
            nonlocal status, problem
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= HTTPStatus.BAD_REQUEST:
                    kind = Headers(raw=message["headers"]).get("content-type")
                    problem = bytearray() if kind == MEDIA_TYPE else None
            elif message["type"] == "http.response.body":
                body = message.get("body", b"")
                self.metrics.travelled(0, len(body))
                if problem is not None:
                    problem += body
                    if not message.get("more_body", False):
                        self.metrics.refused(bytes(problem), status)
                        problem = None
            await send(message)

        await self.app(scope, counting_receive, counting_send)


def _listed(value: str, names: Collection[str]) -> str:
    return value if value in names else OTHER
