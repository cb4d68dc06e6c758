"""Cosignatures of the server's log, by a witness, a party, an owner or an institution.

A cosigner keeps, in its own folder, the log's public key, which it takes from the server once, and
the size and root that it signed last. It signs a checkpoint only if that continues the last one,
and writes the new state to disk before it hands out the signature. If the log was rolled back or
forked, it signs nothing more, and says so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import LogFacts
from governance.log.checkpoint import Checkpoint, CosignerState, Note
from parties.log_client import LogClient
from utils.atomic_files import write_atomic, write_new
from utils.errors import LogInconsistent, MalformedMessage

STATE_FILE = "cosigned_log"
KEY_FILE = "log_public_key"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Seen:
    """A checkpoint as the server shows it, not verified, and the state to compare it with.

    `name` is the cosigner's in the log's facts, `proof` the consistency proof from the state.
    """

    facts: LogFacts
    name: str
    note: Note
    checkpoint: Checkpoint
    state: CosignerState
    proof: Sequence[bytes]


class Cosigner:
    """Cosigns the log at a server with the key of a witness or an agent.

    The state is in the files STATE_FILE and KEY_FILE of `home`, whose names end with `suffix`.
    """

    def __init__(
        self, client: LogClient, home: Path, key: Ed25519PrivateKey, suffix: str = ""
    ) -> None:
        self.named: bool | None = None
        """True if the server named this key as a cosigner's when it was asked last."""
        self._client, self._key = client, key
        self._public = key.public_key().public_bytes_raw().hex()
        self._state_file, self._key_file = home / (STATE_FILE + suffix), home / (KEY_FILE + suffix)

    @classmethod
    def of_agent(cls, client: LogClient, home: Path, key: Ed25519PrivateKey) -> Self:
        """Return the cosigner of an agent, whose folder may be used with several servers."""
        return cls(client, home, key, f".{hashlib.sha256(client.url.encode()).hexdigest()[:16]}")

    def cosign(self) -> int | None:
        """Cosign the newest checkpoint, and return its size.

        Returns None if it is signed already, or if the server does not name this key as a
        cosigner's. Raises LogInconsistent if the log is not the one that was signed before,
        ProofInvalid, and the errors of the client.
        """
        seen = self.fetch()
        return None if seen is None else self.send(seen, self.sign(seen))

    def fetch(self) -> Seen | None:
        """Fetch the newest checkpoint and the proof for it; None as for `cosign`.

        Raises the errors of the client, ProofInvalid for a checkpoint that cannot be read, and
        LogInconsistent if the file of the state is damaged.
        """
        facts = self._client.log_facts()
        name = next((name for name, key in facts.cosigners.items() if key == self._public), None)
        self.named = name is not None
        if name is None:
            return None
        note = Note.parse(self._client.checkpoint())
        checkpoint = Checkpoint.parse(note.body)
        state = self._state(checkpoint.origin)
        if checkpoint == Checkpoint(state.origin, state.size, state.root):
            return None
        proof: list[bytes] = []
        if checkpoint.size > state.size:  # otherwise `sign` finds the rollback or the fork
            found = self._client.consistency(state.size, checkpoint.size)
            proof = [bytes.fromhex(each) for each in found.hashes]
        return Seen(facts, name, note, checkpoint, state, proof)

    def sign(self, seen: Seen) -> str:
        """Return the line of the cosignature, after the new state is on disk.

        Raises LogInconsistent or ProofInvalid if the log is not the one that was signed before.
        """
        state = seen.state
        if seen.checkpoint.origin != state.origin:
            raise LogInconsistent(
                f"The server shows the log {seen.checkpoint.origin[:60]}, and before it showed "
                f"{state.origin[:60]}. Ask the server's operator for the cause; to accept another "
                f"log, remove {self._state_file.name} and {self._key_file.name} from "
                f"{self._state_file.parent}."
            )
        line, state = state.cosign(
            seen.note,
            self._log_key(seen.facts),
            state.size,
            seen.proof,
            name=seen.name,
            key=self._key,
            seconds=int(time.time()),
        )
        write_atomic(self._state_file, state.to_bytes())
        return line

    def send(self, seen: Seen, line: str) -> int:
        """Send the line to the server, and return the checkpoint's size."""
        self._client.add_cosignature(seen.checkpoint.size, line)
        return seen.checkpoint.size

    def _state(self, origin: str) -> CosignerState:
        try:
            return CosignerState.from_bytes(self._state_file.read_bytes())
        except FileNotFoundError:
            return CosignerState(origin)

    def _log_key(self, facts: LogFacts) -> bytes:
        """Return the log's key, 32 bytes: the one kept, or, the first time, that of the server."""
        path = self._key_file
        if not path.exists():
            write_new(path, bytes.fromhex(facts.key))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise MalformedMessage(f"The file {path} is damaged. Restore it from a backup.")
        return key
