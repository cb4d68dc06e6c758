"""The witness's calls to the server; those about tasks are signed (utils/signed_requests.py)."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.http import Refusal, StatementRequest, WitnessedResult, WitnessTasks
from parties.bounded_http import ANSWER_BYTES
from parties.log_client import LogClient
from utils.signed_requests import authorization


class WitnessClient(LogClient):
    """The calls of the witness with this key.

    All raise ServerUnreachable and the errors that the server reports.
    """

    def __init__(
        self, url: str, timeout: float, key: Ed25519PrivateKey, authority: Path | None = None
    ) -> None:
        super().__init__(url, timeout, authority=authority)
        self._key = key

    def tasks(self, wait: float = 0.0, seen: str = "") -> WitnessTasks:
        """Return the open tasks.

        If there are none, or only those with the tag `seen`, the server waits up to `wait` seconds
        (at most 25) for others.
        """
        target = f"/witness/tasks?wait={wait:g}&seen={quote(seen, '')}"
        body = self._signed("GET", target, ANSWER_BYTES, timeout=wait + self.timeout)
        return self._parse(WitnessTasks, body)

    def message(self, task: str, party: str, file_name: str, limit: int) -> bytes:
        """Return a message of a task; raises MalformedMessage if it has more than `limit` bytes."""
        target = f"/witness/tasks/{task}/messages/{quote(party, '')}/{quote(file_name, '')}"
        return self._signed("GET", target, limit)

    def result(self, task: str) -> WitnessedResult:
        """Return a task's sealed result and the seed of its re-randomisation."""
        body = self._signed("GET", f"/witness/tasks/{task}/result", ANSWER_BYTES)
        return self._parse(WitnessedResult, body)

    def state(self, task: str, signature: bytes | None, refusal: Refusal | None) -> None:
        """Send the statement on a task: a signature, or a refusal."""
        said = StatementRequest(
            signature=None if signature is None else signature.hex(), refusal=refusal
        )
        content = said.model_dump_json(exclude_none=True).encode()
        self._signed("POST", f"/witness/tasks/{task}/statement", ANSWER_BYTES, content)

    def _signed(
        self, method: str, target: str, limit: int, content: bytes = b"", **options: float
    ) -> bytes:
        headers = {"Authorization": authorization(self._key, method, target, content, time.time())}
        if content:
            headers["Content-Type"] = "application/json"
        more = {"content": content} if content else {}
        return self._bytes(method, target, limit, headers=headers, **more, **options)
