"""The policy that this server decides by: files in a folder, whose every version is in the log.

The folder is in the server's data folder, filled with the shipped policies when it is empty, or is
that of a setting, which several servers of one database have to share. A change is logged in the
transaction in which it is made; files that were changed while the server did not run are logged
when it starts. A server whose files are not those of the last entry decides nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from contract.governance import PolicyRule, PolicyState
from governance.log.entries import Entry
from governance.policy import Policies, apply_change, copy_shipped
from service.governance.log import ENTRIES, Event, record
from service.storage.prepared import Prepared
from service.storage.storage import LOG, Storage
from settings import Settings
from utils.disk_errors import storage_fault
from utils.errors import InvalidRequest, PolicyInvalid

FOLDER = "policies"
OPERATOR = "operator"
_LAST_CHANGE = Prepared(
    select(ENTRIES.c.data)
    .where(ENTRIES.c.kind == "policy_change")
    .order_by(ENTRIES.c.number.desc())
    .limit(1)
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.(cedar|json)")


class PolicyKeeper:
    """The policy of one server; the methods are synchronous and thread-safe.

    The constructor raises PolicyInvalid, with file and line, and StorageUnavailable.
    """

    def __init__(
        self, storage: Storage, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage, self._clock = storage, clock
        self._folder = settings.policies or settings.server_data / FOLDER
        self._changing = threading.Lock()
        try:
            copy_shipped(self._folder)
        except OSError as error:
            raise storage_fault(f"The policies in {self._folder} cannot be used", error) from error
        self._policies = Policies.load(self._folder)
        with storage.write() as session:
            storage.lock(session, LOG)
            if _logged_version(session) != self._policies.version:
                self._log(session, self._policies.version)

    def current(self, session: Session) -> Policies:
        """Return the policy; raises PolicyInvalid unless it is that of the log's last entry."""
        logged = _logged_version(session)
        if self._policies.version != logged:  # another server has changed the shared folder
            self._policies = Policies.load(self._folder)
        if self._policies.version != logged:
            raise PolicyInvalid(
                f"The policy in {self._folder} is not the one that the log names. Restart the "
                "server to log it, and let all servers of one database share one folder "
                "(TRISEAL_POLICIES)."
            )
        return self._policies

    def state(self) -> PolicyState:
        """Return the policy's version, files and rules."""
        with self._storage.read() as session:
            policies = self.current(session)
        known = policies.files.obligations
        return PolicyState(
            version=policies.version,
            files=dict(policies.files.texts),
            rules=[
                PolicyRule(
                    id=rule.id,
                    effect="permit" if rule.permits else "forbid",
                    reason=rule.reason,
                    file=rule.file,
                    line=rule.line,
                    obligations=known[rule.id].model_dump(mode="json") if rule.permits else None,
                )
                for rule in policies.rules.values()
            ],
        )

    def change(self, name: str, text: str | None) -> str:
        """Replace, add or (with None) remove a file, and return the policy's new version.

        Raises InvalidRequest for another name than that of a policy file, PolicyInvalid, and
        DataFolderInUse if another change is being made.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest("name: a policy file is called, for example, 40-own.cedar.")
        with self._changing, self._storage.write() as session:
            self._storage.lock(session, LOG)
            self.current(session)
            try:
                version = apply_change(self._folder, name, text)
            except OSError as error:
                raise storage_fault("The policy's file cannot be written", error) from error
            # If this transaction fails, the files are ahead of the log, and nothing is decided
            # until a restart logs them.
            if version != _logged_version(session):
                self._log(session, version)
        self._policies = Policies.load(self._folder)
        return version

    def _log(self, session: Session, version: str) -> None:
        event = Event(
            "policy_change",
            self._clock(),
            digests={"policy": [version]},
            names={"operator": (OPERATOR,)},
        )
        record(self._storage, session, event)


def _logged_version(session: Session) -> str | None:
    """Return the version of the last change in the log; None if there is none."""
    row = _LAST_CHANGE.one_or_none(session)
    return None if row is None else _version_in(bytes(row.data))


@lru_cache(maxsize=4)
def _version_in(data: bytes) -> str:
    """Return the version that an entry names."""
    return Entry.parse(data).digests["policy"][0]
