"""The services of sessions, as one server has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from service.sessions.relay import SessionRelay
from service.sessions.session_log import SessionLog
from service.sessions.sessions import Sessions
from service.storage.storage import Storage
from settings import Settings


@dataclass(frozen=True)
class SessionServices:
    """The services; they exist as soon as the storage is open."""

    sessions: Sessions
    relay: SessionRelay
    log: SessionLog

    @classmethod
    def open(cls, storage: Storage, settings: Settings) -> Self:
        """Return the services on a storage."""
        return cls(
            Sessions(storage, settings), SessionRelay(storage), SessionLog(storage, settings)
        )
