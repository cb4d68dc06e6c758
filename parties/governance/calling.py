"""Calls of an institution's agent to owners' agents, and the replies to them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from parties.governance.calls import Message, Refused
from parties.governance.sealed_session import SealedSession
from utils.errors import (
    AgentUnreachable,
    MalformedMessage,
    OutOfStep,
    TrisealError,
    error_classes,
)

T = TypeVar("T", bound=Message)


class Calls:
    """The calls that wait for a reply. `changed` is the lock of the agent that makes them.

    `failures` has, by session, why the server cannot be reached at present, in words.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.failures: dict[str, str] = {}
        self._changed = changed
        self._waiting: dict[tuple[str, int], list[Message | TrisealError]] = {}
        self._closed = False

    def close(self) -> None:
        """End all calls, and refuse others; the caller notifies those that wait."""
        self._closed = True

    def require_running(self) -> None:
        """Raise OutOfStep if the agent is closed."""
        if self._closed:
            raise OutOfStep("This agent is closed; start it again.")

    def awaits(self, session_id: str, number: int | None) -> bool:
        """Return True if a call waits for the reply with this number."""
        return number is not None and (session_id, number) in self._waiting

    def reply(self, session_id: str, number: int | None, found: Message | TrisealError) -> None:
        """Give a reply, or what is wrong with it, to the call that waits for it, if one does."""
        with self._changed:
            if number is not None and (session_id, number) in self._waiting:
                self._waiting[session_id, number].append(found)
                self._changed.notify_all()

    def call(
        self, session: SealedSession, kind: type[T], make: Callable[[int], Message], end: float
    ) -> T:
        """Send a message and return the reply of this kind.

        `make` gets the call's number. Raises the error that the owner's agent reports, and
        AgentUnreachable if it does not reply until `end`, a time of the monotonic clock.
        """
        self.until_connected(session, end)
        with self._changed:
            number = self._new_number(session.session_id)
            self._waiting[session.session_id, number] = []
        try:
            session.send(make(number))
            return self._reply_to(session, number, kind, end)
        finally:
            with self._changed:
                del self._waiting[session.session_id, number]

    def call_again(
        self,
        session: SealedSession,
        kind: type[T],
        number: int,
        still_due: Callable[[], bool],
        end: float,
    ) -> T | None:
        """Wait for the reply to an earlier call; return None if it is not `still_due`.

        Raises as `call` does.
        """
        with self._changed:
            if not still_due():
                return None
            self._waiting[session.session_id, number] = []
        try:
            return self._reply_to(session, number, kind, end)
        finally:
            with self._changed:
                del self._waiting[session.session_id, number]

    def until_connected(self, session: SealedSession, end: float) -> None:
        """Wait until both sides of a session are there; raises AgentUnreachable at `end`."""
        with self._changed:
            self._changed.wait_for(
                lambda: session.connected or session.over or self._closed,
                max(0.0, end - time.monotonic()),
            )
        self._require_open(session)
        if not session.connected:
            raise self._away(session)

    def _reply_to(self, session: SealedSession, number: int, kind: type[T], end: float) -> T:
        replies: list[Any] = self._waiting[session.session_id, number]
        with self._changed:
            self._changed.wait_for(
                lambda: replies or session.over or self._closed,
                max(0.0, end - time.monotonic()),
            )
        if not replies:
            self._require_open(session)
            raise self._away(session)
        found = replies[0]
        if isinstance(found, Refused):
            raise error_of(found)
        if isinstance(found, TrisealError):
            raise found
        if not isinstance(found, kind):
            raise MalformedMessage("The owner's agent sent a reply of another kind; it is faulty.")
        return found

    def _new_number(self, session_id: str) -> int:
        while True:
            number = secrets.randbelow(2**31 - 1) + 1
            if (session_id, number) not in self._waiting:
                return number

    def _require_open(self, session: SealedSession) -> None:
        self.require_running()
        if session.failure is not None:
            raise session.failure
        if session.over:
            raise OutOfStep("The session has ended; ask the owner for a new code.")

    def _away(self, session: SealedSession) -> AgentUnreachable:
        failure = self.failures.get(session.session_id)
        if failure is not None:
            return AgentUnreachable(f"There is no connection to the owner's agent. {failure}")
        return AgentUnreachable(
            "The owner's agent did not respond in time; it may be switched off. Nothing is lost: "
            "try again when it is back."
        )


def error_of(refused: Refused) -> TrisealError:
    """Return the error that an owner's agent reported."""
    return error_classes().get(refused.code, TrisealError)(refused.message)
