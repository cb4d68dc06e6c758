"""An institution's requests, receipts and results, and its activity, in its sealed folder.

Results are removed when the time is over for which the request says that they may be kept.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from governance.access import PartnerType
from governance.request_state import CLOSED, Status
from governance.requests import LARGEST_REQUEST, AccessRequest, Hex128, SignedRequest
from parties.governance.calls import RequestStatus
from parties.governance.institution_files import InstitutionFiles
from parties.governance.judging import request_words
from parties.governance.sealed_files import SealedFiles
from parties.governance.views import ActivityLine, RequestView, UseView
from utils.errors import QuotaExceeded, TrisealError, UnknownName

MOST_REQUESTS = 5000
"""Requests in a book; the oldest closed ones whose results are gone make room for new ones."""
MOST_RESULTS = 100
MOST_RESULT_BYTES = 4 * 1024 * 1024
"""Bytes of the results of one request in JSON; the oldest ones are removed first."""
MOST_USES = 1000
MOST_CALLS = 64
PAGE_LINES, MOST_PAGES = 25, 40
"""Lines of activity in a file, and files that are kept; the oldest ones are removed."""
DAY_SECONDS = 24 * 3600
_NOT_JUDGED = "The owner's agent has not responded yet."


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptResult(_Model):
    """A result, by the id of its permit; `returned` is False until `run` has returned it."""

    permit: Hex128
    at: int
    entry: int | None
    result: dict[str, JsonValue] = Field(repr=False)
    returned: bool = False


class HeldPermit(_Model):
    """A permit that was received; `brought` is True once it was sent back for its use."""

    token: str = Field(repr=False)
    id: Hex128
    expires: int
    brought: bool = False


class Taking(_Model):
    """The call for a permit that has no reply yet, and its time."""

    call: int
    at: int


class KeptRequest(_Model):
    """A request and what has come of it.

    `signed` is the signed request in JSON. `asked`, `taking` and `redeeming` have the numbers of
    calls whose replies may still come: for the request itself, for a permit, and for uses, the last
    with the ids of their permits.
    """

    signed: str = Field(max_length=LARGEST_REQUEST)
    session_id: Hex128
    owner_key: str
    peer: str
    data_set: str
    asked: int
    status: RequestStatus | None = None
    refused: str = ""
    receipt: str | None = None
    receipt_id: str | None = None
    permit: HeldPermit | None = None
    taking: Taking | None = None
    redeeming: dict[int, Hex128] = {}
    uses: tuple[UseView, ...] = ()
    results: tuple[KeptResult, ...] = ()
    problem: str | None = None

    @cached_property
    def request(self) -> AccessRequest:
        """The request without its signature."""
        found = json.loads(self.signed)
        found.pop("proof", None)
        return AccessRequest.model_validate_json(json.dumps(found))

    def changed(self, **members: Any) -> KeptRequest:
        """Return the request with other members."""
        return self.model_copy(update=members)

    def state_at(self, now: int) -> Status:
        """Return the status; requests expire by themselves."""
        if self.refused:
            return "denied"
        status: Status = "pending" if self.status is None else self.status.status
        grant = None if self.status is None else self.status.grant
        ends = self.request.not_after if grant is None else grant.not_after
        return "expired" if now >= ends and status not in CLOSED else status

    def unreturned(self) -> KeptResult | None:
        """Return the oldest result that `run` has not returned yet."""
        return next((each for each in self.results if not each.returned), None)

    def with_result(self, kept: KeptResult) -> KeptRequest:
        """Return the request with a result, which is kept once for each permit."""
        if any(each.permit == kept.permit for each in self.uses):
            return self
        results = _bounded((*self.results, kept))
        uses = (*self.uses, UseView(permit=kept.permit, at=kept.at, entry=kept.entry))
        held = None if self.permit is None or self.permit.id == kept.permit else self.permit
        return self.changed(results=results, uses=uses[-MOST_USES:], permit=held, problem=None)

    def redeemed_by(self, call: int, permit: str) -> KeptRequest:
        """Return the request with a call that brings a permit."""
        calls = [*self.redeeming.items(), (call, permit)]
        return self.changed(redeeming=dict(calls[-MOST_CALLS:]))

    def returned(self, permit: str) -> KeptRequest:
        """Return the request with the result of a permit marked as returned."""
        results = tuple(
            each.model_copy(update={"returned": True}) if each.permit == permit else each
            for each in self.results
        )
        return self.changed(results=results)

    def pruned(self, now: int) -> KeptRequest:
        """Return the request without results that may no longer be kept.

        A result that was not returned yet is kept for a day in any case.
        """
        seconds = self.request.retention_days * DAY_SECONDS
        left = tuple(
            each
            for each in self.results
            if now < each.at + (seconds if each.returned else max(seconds, DAY_SECONDS))
        )
        return self if left == self.results else self.changed(results=left)

    def view(self, now: int, partner_type: PartnerType | None = None) -> RequestView:
        """Return the request as people see it."""
        request, status = self.request, self.status
        return RequestView(
            request=request,
            session_id=self.session_id,
            peer=self.peer,
            peer_type=partner_type,
            status=self.state_at(now),
            words=request_words(request, self.data_set),
            data_set=self.data_set,
            policy_allows=status is not None and status.policy_allows,
            policy_words=self.refused or (_NOT_JUDGED if status is None else status.policy_words),
            rules=() if status is None else status.rules,
            masks={} if status is None else status.masks,
            grant=None if status is None else status.grant,
            reason=self.refused[:500] if status is None else status.reason,
            receipt_id=self.receipt_id,
            uses=self.uses,
            uses_left=0 if status is None else status.uses_left,
            problem=self.problem or (None if status is None else status.problem),
            results=tuple(each.result for each in self.pruned(now).results),
        )


class InstitutionBook:
    """The requests and the activity of one institution; one thread at a time may call it."""

    def __init__(self, files: InstitutionFiles) -> None:
        """Read the book; raises StoreDamaged and OSError."""
        self._files = files
        self._requests: dict[str, KeptRequest] = {}
        found = []
        for name in files.requests.names():
            kept = _parsed(KeptRequest, files.requests, name)
            try:
                request = SignedRequest.parse(kept.signed.encode()).request
            except TrisealError as error:
                raise files.requests.damaged() from error
            found.append((request.created, request.id, kept))
        for _, request_id, kept in sorted(found, key=lambda each: each[:2]):
            self._requests[request_id] = kept
        self._unwritten: set[int] = set()
        self._pages: list[tuple[int, tuple[ActivityLine, ...]]] = [
            (int(name), _parsed(_Page, files.journal, name).lines)
            for name in files.journal.names()
            if name.isdecimal()
        ]

    def requests(self) -> tuple[tuple[str, KeptRequest], ...]:
        """Return the ids and the requests, oldest first."""
        return tuple(self._requests.items())

    def get(self, request_id: str) -> KeptRequest:
        """Return a request; raises UnknownName."""
        found = self._requests.get(request_id)
        if found is None:
            raise UnknownName("There is no such request here; list the requests first.")
        return found

    def find(self, request_id: str) -> KeptRequest | None:
        """Return a request, or None if there is none of this id."""
        return self._requests.get(request_id)

    def make_room(self, now: int) -> None:
        """Remove the oldest closed request without results, with its receipt, if the book is full.

        Raises QuotaExceeded if there is none.
        """
        if len(self._requests) < MOST_REQUESTS:
            return
        for request_id, kept in self._requests.items():
            if kept.state_at(now) in CLOSED and not kept.pruned(now).results:
                self.remove(request_id)
                return
        raise QuotaExceeded(
            f"{MOST_REQUESTS} requests are open or have results that are kept; wait until some end."
        )

    def put(self, request_id: str, kept: KeptRequest) -> KeptRequest:
        """Keep a request in place of its earlier state, and return it; raises OSError."""
        self._files.requests.write(request_id, kept.model_dump_json().encode())
        self._requests[request_id] = kept
        return kept

    def remove(self, request_id: str) -> None:
        """Remove a request."""
        self._files.requests.remove(request_id)
        self._requests.pop(request_id, None)

    def activity(self) -> tuple[ActivityLine, ...]:
        """Return the lines of activity, oldest first."""
        return tuple(line for _, lines in self._pages for line in lines)

    def note(self, line: ActivityLine) -> None:
        """Append a line of activity, which `flush` writes."""
        if not self._pages or len(self._pages[-1][1]) >= PAGE_LINES:
            self._pages.append((self._pages[-1][0] + 1 if self._pages else 1, ()))
        number, lines = self._pages[-1]
        self._pages[-1] = (number, (*lines, line))
        self._unwritten.add(number)

    def flush(self) -> None:
        """Write the new lines of activity, all at once since each write waits for the disk.

        Raises OSError.
        """
        for number, lines in self._pages[-MOST_PAGES:]:
            if number in self._unwritten:
                page = _Page(lines=lines).model_dump_json().encode()
                self._files.journal.write(_page_name(number), page)
        self._unwritten.clear()
        for number, _ in self._pages[:-MOST_PAGES]:
            self._files.journal.remove(_page_name(number))
        self._pages = self._pages[-MOST_PAGES:]


M = TypeVar("M", bound=BaseModel)


class _Page(_Model):
    lines: Annotated[tuple[ActivityLine, ...], Field(max_length=PAGE_LINES)]


def _page_name(number: int) -> str:
    """Return the name of a page's file; the names sort like the numbers."""
    return f"{number:012}"


def _bounded(results: tuple[KeptResult, ...]) -> tuple[KeptResult, ...]:
    """Return the newest results that together are not too many or too large."""
    kept: list[KeptResult] = []
    size = 0
    for each in reversed(results[-MOST_RESULTS:]):
        size += len(each.model_dump_json())
        if kept and size > MOST_RESULT_BYTES:
            break
        kept.append(each)
    return tuple(reversed(kept))


def _parsed(kind: type[M], files: SealedFiles, name: str) -> M:
    try:
        return kind.model_validate_json(files.read(name) or b"")
    except ValidationError:
        raise files.damaged() from None  # without the cause, which shows the content
