"""The operator's calls to the server that the compliance page needs: the log and the policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx

from contract.governance import Integrity, LogFacts, LogLine, LogLines, PolicyState
from governance.log.checkpoint import LARGEST_NOTE, Note, cosigned_at, verify_checkpoint
from governance.log.entries import time_text
from governance.reports import MOST_ROWS, Cosigned, Health, Line, Period
from parties.bounded_http import BoundedHttp
from settings import Settings
from utils.errors import InvalidRequest, NotAuthorised, OutOfStep, ProofInvalid
from utils.regular_files import read_regular

TOKEN_FILE = "operator_token"  # noqa: S105 - its name, beside the server's other files
PAGE_LINES = 200
"""Lines in one response: their details, 16 KiB each, fit into the largest response."""
_LARGEST_TOKEN = 4096


class OperatorClient(BoundedHttp):
    """The operator's calls; `token` returns the token for each call.

    All raise ServerUnreachable, NotAuthorised and the errors that the server reports.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        token: Callable[[], str],
        transport: httpx.BaseTransport | None = None,
        authority: Path | None = None,
    ) -> None:
        super().__init__(url, timeout, transport, authority)
        self._token = token

    @classmethod
    def from_settings(cls, settings: Settings, url: str | None = None) -> Self:
        """Return the client for the server in the settings, with the token as it is stored."""
        return cls(
            url or settings.url,
            settings.request_timeout,
            lambda: token_of(settings),
            authority=settings.server_ca,
        )

    def facts(self) -> LogFacts:
        """Return the log's name, size and keys."""
        return self._answer(LogFacts, "GET", "/log")

    def newest(self, count: int) -> list[Line]:
        """Return the `count` newest lines of the log, the newest first."""
        return self._lines(count, {})

    def period(self, period: Period) -> list[Line]:
        """Return the lines for a report on a period, the newest first.

        Raises InvalidRequest if there are too many for one report.
        """
        between = {
            "start_date": period.context_start.isoformat(),
            "end_date": period.end.isoformat(),
        }
        lines = self._lines(2 * MOST_ROWS + 1, between)
        if len(lines) > 2 * MOST_ROWS:
            raise InvalidRequest("The log has too many entries in this period; shorten it.")
        return lines

    def policy(self) -> PolicyState:
        """Return the policy by which the server decides."""
        return self._answer(PolicyState, "GET", "/policies")

    def integrity(self) -> Integrity:
        """Return the result of the server's audit of the stored log."""
        return self._answer(Integrity, "GET", "/integrity/verify", timeout=self.timeout)

    def cosigned(self) -> Cosigned | None:
        """Return the last cosigned checkpoint, with its signatures verified; None if none is.

        Raises ProofInvalid if a signature does not belong to it.
        """
        facts = self.facts()
        try:
            body = self._bytes("GET", "/log/checkpoint?cosigned=true", LARGEST_NOTE)
        except OutOfStep:
            return None
        try:
            note = Note.parse(body.decode())
        except UnicodeDecodeError as error:
            raise ProofInvalid("The server's checkpoint is not a text.") from error
        checkpoint = verify_checkpoint(note, facts.origin, bytes.fromhex(facts.key))
        times = {
            name: cosigned_at(note, name, bytes.fromhex(key))
            for name, key in facts.cosigners.items()
        }
        by = {name: time_text(seconds) for name, seconds in times.items() if seconds is not None}
        return Cosigned(checkpoint.size, checkpoint.root.hex(), by)

    def health(self) -> Health:
        """Return the result of an audit, and the last cosigned checkpoint."""
        found = self.integrity()
        return Health(
            size=found.size,
            root=found.root,
            healthy=found.healthy,
            fault=found.fault,
            entries_checked=found.entries_checked,
            checked_at=_seconds_of(found.checked_at),
            cosigned=self.cosigned(),
        )

    def _lines(self, most: int, filters: dict[str, str]) -> list[Line]:
        """Return up to `most` lines; new ones meanwhile shift the pages and lose none."""
        found: dict[int, Line] = {}
        offset = 0
        while len(found) < most:
            limit = min(PAGE_LINES, most - len(found))
            query: dict[str, Any] = {**filters, "limit": limit, "offset": offset}
            page = self._answer(LogLines, "GET", "/logs", token=self._token(), params=query).items
            found |= {line.index: _line(line) for line in page}
            offset += len(page)
            if len(page) < limit:
                break
        return sorted(found.values(), key=lambda line: -line.index)


def token_of(settings: Settings) -> str:
    """Return the operator's token on this machine; raises NotAuthorised if there is none."""
    if settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path = settings.server_data / TOKEN_FILE
    try:
        read = read_regular(path, _LARGEST_TOKEN)
    except OSError:
        read = None
    token = "" if read is None else read[0].decode("ascii", "replace").strip()
    if not token:
        raise NotAuthorised(
            f"There is no readable operator's token in {path}. Start the server, run this page as "
            "the server's user, or set TRISEAL_OPERATOR_TOKEN."
        )
    return token


def _line(line: LogLine) -> Line:
    return Line(**line.model_dump())


def _seconds_of(moment: str) -> str:
    """Return a time of the contract as the log has it, in UTC and whole seconds."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
