"""What Prometheus may know of a server: counts, seconds and bytes, never whose they are.

A label's value is taken from a fixed list (programs, slot names, outcomes, error codes); whatever
is not on it becomes `other`, so that nothing a client sends can reach a label.
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
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLANATION_INPUTS,
    PROGRAMS,
    PUBLIC_KEY,
)
from service.http.problems import MEDIA_TYPE, TYPE_PREFIX
from utils.errors import error_classes

SLOT_NAMES = (PUBLIC_KEY, EVALUATION_KEY, ENCRYPTED_INPUTS, EXPLANATION_INPUTS)
DONE, FAILED, CANCELLED, ERASED = "done", "failed", "cancelled", "erased"
OUTCOMES = (DONE, FAILED, CANCELLED, ERASED)
"""`erased`: the application was erased, or its time was over, while its program ran."""
QUEUED, RUNNING = "queued", "running"
OTHER = "other"
SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

# A time beside every count says nothing that the server's start does not, and doubles the answer.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one app, in a registry of its own; its methods may be called in any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._codes = frozenset(error_classes())
        self._applications = Gauge(
            "triseal_applications", "Applications whose time is not over.", registry=registry
        )
        self._runs = Counter(
            "triseal_runs", "Ended runs.", ("program", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "triseal_evaluation_seconds",
            "Seconds of finished evaluations, without their wait.",
            ("program",),
            buckets=SECONDS,
            registry=registry,
        )
        self._jobs = Gauge(
            "triseal_jobs",
            "Runs that wait or are evaluated, on any server of the database.",
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
            "triseal_request_bytes", "Bytes of request bodies that were read.", registry=registry
        )
        self._bytes_out = Counter(
            "triseal_response_bytes", "Bytes of response bodies.", registry=registry
        )
        self._problems = Counter(
            "triseal_problems", "Answers that report an error.", ("code",), registry=registry
        )
        self._relayed = Counter(
            "triseal_relay_messages", "Messages taken from a party for others.", registry=registry
        )
        self._begin_at_zero()

    def ended(self, program: str, outcome: str) -> None:
        """A run has ended in one of OUTCOMES."""
        self._runs.labels(_listed(program, PROGRAMS), _listed(outcome, OUTCOMES)).inc()

    def evaluated(self, program: str, seconds: float) -> None:
        """An evaluation took so long."""
        self._seconds.labels(_listed(program, PROGRAMS)).observe(seconds)

    def received(self, slot: str, size: int) -> None:
        """A file for a slot of this name has arrived whole, whatever is found in it."""
        self._received.labels(_listed(slot, SLOT_NAMES)).inc(size)

    def sent(self, program: str, size: int) -> None:
        """A result goes to a party."""
        self._sent.labels(_listed(program, PROGRAMS)).inc(size)

    def relayed(self) -> None:
        """A party has given a message for others."""
        self._relayed.inc()

    def travelled(self, came: int, went: int) -> None:
        """Bodies of so many bytes have been read and answered."""
        self._bytes_in.inc(came)
        self._bytes_out.inc(went)

    def refused(self, problem: bytes, status: int) -> None:
        """A problem has been answered; `http-<status>` where it has no code of ours."""
        kind = str(json.loads(problem)["type"])
        code = kind.removeprefix(TYPE_PREFIX)
        known = kind != code and code in self._codes
        self._problems.labels(code if known else f"http-{HTTPStatus(status).value}").inc()

    def text(self, *, applications: int, queued: int, running: int) -> bytes:
        """All figures in Prometheus's text format, with those that are only true now."""
        self._applications.set(applications)
        self._jobs.labels(QUEUED).set(queued)
        self._jobs.labels(RUNNING).set(running)
        return generate_latest(self._registry)

    def _begin_at_zero(self) -> None:
        """Have each series from the start: a rate misses what a series first appears with."""
        for program in PROGRAMS:
            self._seconds.labels(program)
            self._sent.labels(program)
            for outcome in OUTCOMES:
                self._runs.labels(program, outcome)
        for slot in SLOT_NAMES:
            self._received.labels(slot)


class ProblemCount:
    """ASGI middleware that counts the problems which are answered, and the bytes of all bodies.

    It goes by what is sent, since one fault may be raised, caught and worded anew on its way.
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
                if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                    problem = bytearray()
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
