"""Locks that let one thread at a time use an application's files on this machine.

A session's steps read the parties' files, send requests to the server, and write the files again.
Overlapping steps would overwrite each other's changes, so they run one at a time: a lock in memory
excludes other threads, the locks of the parties' folders exclude other processes. Neither is held
while a run is waited for.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from parties.store import PartyStore
from utils.forks import renew_in_children

WAIT_SECONDS = 25.0
"""Longest wait for another process's step, longer than any step waits for other parties."""


class _Locks:
    """One lock for each application folder in use in this process."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self._guard = threading.Lock()
        self._locks: weakref.WeakValueDictionary[Path, threading.RLock] = (
            weakref.WeakValueDictionary()
        )

    def of(self, folder: Path) -> threading.RLock:
        """Return the folder's lock, the same object as long as it is referenced."""
        with self._guard:
            return self._locks.setdefault(folder, threading.RLock())


_locks = _Locks()


@contextmanager
def one_thread(store: PartyStore, client_id: str) -> Iterator[None]:
    """Lock an application against other threads of this process; they wait."""
    with _locks.of(store.application_folder(client_id)):
        yield


@contextmanager
def one_step(store: PartyStore, client_id: str, parties: Iterable[str]) -> Iterator[None]:
    """Lock an application against other threads and processes; must not be nested.

    Raises DataFolderInUse if another process does not finish within WAIT_SECONDS, and
    UnknownApplication if the files have been erased.
    """
    with one_thread(store, client_id), ExitStack() as held:
        for party in sorted(parties):  # the same order everywhere prevents deadlocks
            held.enter_context(store.hold(client_id, party, WAIT_SECONDS))
        store.parties(client_id)
        yield
