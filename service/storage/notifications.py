"""Notifications among servers on one PostgreSQL database: the ids of changed applications."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger("triseal.database")

CHANNEL = "triseal_changed"
"""The channel of LISTEN and NOTIFY; the payload is a client_id."""
WAIT_SECONDS = 0.25
"""Longest time until the thread notices that it has to end."""
PAUSE_SECONDS = 1.0
"""Pause between two attempts to connect."""


class Listener(threading.Thread):
    """Calls `changed` with every announced id, using a connection of its own.

    PostgreSQL keeps nothing for a listener that is disconnected. So after each connect, including
    the first, it calls `changed(None)`: anything may have changed.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        changed: Callable[[str | None], None],
    ) -> None:
        super().__init__(name="announcements", daemon=True)
        self._connect = connect
        self._changed = changed
        self._ended = threading.Event()

    def run(self) -> None:
        away = False
        while not self._ended.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    if away:
                        logger.info("other servers' announcements arrive again")
                    away = False
                    self._tell(None)
                    while not self._ended.is_set():
                        for notice in connection.notifies(timeout=WAIT_SECONDS):
                            self._tell(notice.payload)
            except (psycopg.Error, SQLAlchemyError) as error:
                if not away:
                    reason = type(error).__name__  # its text may be long and contain an address
                    facts = {"why": reason}
                    logger.warning("announcements do not arrive", extra={"facts": facts})
                away = True
                self._ended.wait(PAUSE_SECONDS)

    def end(self) -> None:
        """Close the connection; `changed` is not called any more."""
        self._ended.set()
        self.join(2 * PAUSE_SECONDS)

    def _tell(self, client_id: str | None) -> None:
        if self._ended.is_set():
            return
        try:
            self._changed(client_id)
        except Exception:  # later announcements must still be delivered
            logger.exception("an announcement could not be passed on")
