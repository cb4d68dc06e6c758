"""The calls about the server's log that a cosigner makes; none needs a token."""

from __future__ import annotations

from contract.governance import ConsistencyProof, CosignatureRequest, LogFacts
from governance.log.checkpoint import LARGEST_NOTE
from parties.bounded_http import ANSWER_BYTES, BoundedHttp


class LogClient(BoundedHttp):
    """A client of the server at `url` for its log; safe to share between threads.

    Every method raises ServerUnreachable and the errors that the server reports.
    """

    def log_facts(self) -> LogFacts:
        """Return the log's name, size and keys."""
        return self._answer(LogFacts, "GET", "/log")

    def checkpoint(self) -> str:
        """Return the newest checkpoint of the log, a signed note; raises MalformedMessage."""
        try:
            return self._bytes("GET", "/log/checkpoint", LARGEST_NOTE).decode()
        except UnicodeDecodeError as error:
            raise self._not_triseal() from error

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        """Return the proof that the log of `new` entries continues the log of `old` ones."""
        target = f"/log/proofs/consistency?old={old}&new={new}"
        return self._answer(ConsistencyProof, "GET", target)

    def add_cosignature(self, size: int, line: str) -> None:
        """Send the line that cosigns the checkpoint of `size` entries."""
        body = CosignatureRequest(size=size, line=line).model_dump()
        self._bytes("POST", "/log/cosignatures", ANSWER_BYTES, json=body)
