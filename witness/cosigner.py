"""The witness's cosignatures of the server's log.

The witness keeps, in its own folder, the log's public key, which it takes from the server once, and
the size and root that it signed last. It signs a checkpoint only if that continues the last one,
and writes the new state to disk before it hands out the signature. If the log was rolled back or
forked, it signs nothing more, and says so.
"""

from __future__ import annotations

import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import LogFacts
from governance.log.checkpoint import Checkpoint, CosignerState, Note
from utils.atomic_files import write_atomic, write_new
from utils.errors import LogInconsistent, MalformedMessage
from witness.client import WitnessClient

STATE_FILE = "cosigned_log"
KEY_FILE = "log_public_key"
_KEY_BYTES = 32


class Cosigner:
    """Cosigns the log at a server with the witness's key."""

    def __init__(self, client: WitnessClient, home: Path, key: Ed25519PrivateKey) -> None:
        self._client, self._home, self._key = client, home, key
        self._public = key.public_key().public_bytes_raw().hex()

    def cosign(self) -> int | None:
        """Cosign the newest checkpoint, and return its size.

        Returns None if it is signed already, or if the server does not name this witness as a
        cosigner. Raises LogInconsistent if the log is not the one that was signed before,
        ProofInvalid, and the errors of the client.
        """
        facts = self._client.log_facts()
        name = next((name for name, key in facts.cosigners.items() if key == self._public), None)
        if name is None:
            return None
        note = Note.parse(self._client.checkpoint())
        checkpoint = Checkpoint.parse(note.body)
        state = self._state(checkpoint.origin)
        if (checkpoint.size, checkpoint.root) == (state.size, state.root):
            return None
        proof: list[bytes] = []
        if checkpoint.size > state.size:  # otherwise the state finds the rollback or the fork
            found = self._client.consistency(state.size, checkpoint.size)
            proof = [bytes.fromhex(each) for each in found.hashes]
        line, state = state.cosign(
            note,
            self._log_key(facts),
            state.size,
            proof,
            name=name,
            key=self._key,
            seconds=int(time.time()),
        )
        write_atomic(self._home / STATE_FILE, state.to_bytes())
        self._client.add_cosignature(checkpoint.size, line)
        return checkpoint.size

    def _state(self, origin: str) -> CosignerState:
        try:
            state = CosignerState.from_bytes((self._home / STATE_FILE).read_bytes())
        except FileNotFoundError:
            return CosignerState(origin)
        if state.origin != origin:
            raise LogInconsistent(
                f"The server shows the log {origin[:60]}, and this witness cosigns "
                f"{state.origin[:60]}. Ask the server's operator for the cause; to cosign another "
                f"log, remove {STATE_FILE} and {KEY_FILE} from {self._home}."
            )
        return state

    def _log_key(self, facts: LogFacts) -> bytes:
        """Return the log's key, 32 bytes: the one kept, or, the first time, that of the server."""
        path = self._home / KEY_FILE
        if not path.exists():
            write_new(path, bytes.fromhex(facts.key))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise MalformedMessage(f"The file {path} is damaged. Restore it from a backup.")
        return key
