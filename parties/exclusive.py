"""One thread at a time for an application's files on this machine.

A session's steps read the parties' files, talk to the server and write the files again. Two that
overlapped would contradict each other, so they follow one another: threads by a lock in memory,
processes by the locks of the parties' folders. Neither is held while a run is waited for.
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
"""How long a step waits for another process; it is more than a step waits for other parties."""


class _Locks:
    """A lock for every application's folder that is in use in this process."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self._guard = threading.Lock()
        self._locks: weakref.WeakValueDictionary[Path, threading.RLock] = (
            weakref.WeakValueDictionary()
        )

    def of(self, folder: Path) -> threading.RLock:
        """Return the folder's lock, the same while anybody has it."""
        with self._guard:
            return self._locks.setdefault(folder, threading.RLock())


_locks = _Locks()


@contextmanager
def one_thread(store: PartyStore, client_id: str) -> Iterator[None]:
    """Keep other threads of this process away from an application; they wait."""
    with _locks.of(store.application_folder(client_id)):
        yield


@contextmanager
def one_step(store: PartyStore, client_id: str, parties: Iterable[str]) -> Iterator[None]:
    """Keep other threads and other processes away from an application; not to be nested.

    Raises DataFolderInUse where another process does not finish in WAIT_SECONDS, and
    UnknownApplication where the files have been erased.
    """
    with one_thread(store, client_id), ExitStack() as held:
        for party in sorted(parties):  # in the same order everywhere, so that nobody waits for ever
            held.enter_context(store.hold(client_id, party, WAIT_SECONDS))
        store.parties(client_id)
        yield
