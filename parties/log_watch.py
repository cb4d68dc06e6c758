"""An agent's watch over the server's log: it cosigns the log after something of its own was logged.

It does so only if the server names the agent's key as a cosigner's. If the log does not continue
the one that was signed before, it was rolled back or forked: the server showed others another
history. The agent then tells its person, and permits nothing more; a file in its folder keeps that
across restarts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.cosigner import Cosigner
from parties.log_client import LogClient
from utils.atomic_files import write_atomic
from utils.errors import LogInconsistent, ProofInvalid, TrisealError

FAULT_FILE = "log_fault"
SETTLE_SECONDS = 2.0
"""Time after something was logged, so that the log is signed once for several entries, and no call
delays a decision."""
REST_SECONDS = 20.0
"""Shortest time between two looks at the log."""
UNNAMED_SECONDS = 600.0
"""The same, if the server does not name the agent as a cosigner."""
LARGEST_FAULT = 4096

log = logging.getLogger(__name__)


class LogWatch:
    """Cosigns the log of the server in a thread of its own, until `stop`.

    `told` is called, from that thread, when the log is found to be at fault.
    """

    def __init__(
        self,
        client: LogClient,
        home: Path,
        key: Ed25519PrivateKey,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._cosigner = Cosigner.of_agent(client, home, key)
        self._file, self._told = home / FAULT_FILE, told
        self._due, self._stopped = threading.Event(), threading.Event()
        self._fault = self._kept_fault()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def fault(self) -> LogInconsistent | None:
        """The error that the log was rolled back or forked, or None."""
        return self._fault

    def require_sound(self) -> None:
        """Raise LogInconsistent if the log was found to be rolled back or forked."""
        if self._fault is not None:
            raise self._fault

    def note(self) -> None:
        """Cosign the log soon, since something of this agent was logged."""
        self._due.set()
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="log watch", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread after its current call; does not wait for it."""
        self._stopped.set()
        self._due.set()

    def look(self) -> int | None:
        """Cosign the newest checkpoint now; see Cosigner.cosign.

        Raises the errors of the client, and LogInconsistent if the log is at fault, which is then
        kept.
        """
        self.require_sound()
        seen = self._cosigner.fetch()
        if seen is None:
            return None
        try:
            line = self._cosigner.sign(seen)
        except (LogInconsistent, ProofInvalid) as error:
            self._fault = LogInconsistent(
                f"The server's log does not continue the one that this agent has signed. "
                f"{error.message} Nothing more is permitted from here. Keep this folder, and "
                f"compare checkpoints with the other parties; to go on once the cause is known, "
                f"remove {self._file}."
            )
            write_atomic(self._file, self._fault.message.encode()[:LARGEST_FAULT])
            raise self._fault from error
        return self._cosigner.send(seen, line)

    def _kept_fault(self) -> LogInconsistent | None:
        try:
            with self._file.open("rb") as file:
                return LogInconsistent(file.read(LARGEST_FAULT).decode(errors="replace"))
        except FileNotFoundError:
            return None

    def _run(self) -> None:
        while not self._stopped.is_set() and self._fault is None:
            self._due.wait()
            if self._stopped.wait(SETTLE_SECONDS):
                return
            self._due.clear()
            try:
                self.look()
            except TrisealError as error:
                if self._fault is not None:
                    log.error("%s", error.message)
                    self._told()
                    return
                log.info("the log was not cosigned: %s", error.message)
                self._due.set()
            except Exception:
                log.exception("the log could not be cosigned")
                self._due.set()
            self._stopped.wait(UNNAMED_SECONDS if self._cosigner.named is False else REST_SECONDS)
