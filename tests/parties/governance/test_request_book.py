"""An owner's book of requests: durable, encrypted, bounded, and damaged bytes are found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.access import Partner
from governance.request_state import (
    Activate,
    Approve,
    Begin,
    Deny,
    Event,
    Grant,
    Issue,
    Pause,
    RequestState,
    Resume,
    Revoke,
    replay,
    step,
)
from governance.requests import SignedRequest, Uses
from parties.governance import request_book
from parties.governance.request_book import Prepared, RequestBook, StoredRequest
from parties.governance.views import ActivityLine
from tests.governance.requests_for_tests import NOW, REQUESTER_KEY, a_request
from utils.errors import QuotaExceeded, RequestClosed, StoreDamaged, TrisealError, UnknownName

KEY = b"b" * 32
BANK = Partner(id="bank_1", type="bank", verified=True)


def stored(number: int = 1, **changes: object) -> StoredRequest:
    request = a_request(id=f"{number:032x}", **changes)
    signed = SignedRequest.sign(request, REQUESTER_KEY).to_bytes().decode()
    return StoredRequest(
        session_id="5" * 32,
        partner=BANK,
        signed=signed,
        words="A request.",
        data_set="d" * 32,
        policy_allows=True,
        policy_words="",
        policy_version="0" * 64,
    )


def test_everything_is_there_after_a_restart_and_nothing_is_readable(tmp_path: Path) -> None:
    book = RequestBook(tmp_path / "book", KEY)
    book.add(stored(), NOW)
    result = Prepared(
        permit_id="1" * 32,
        permit="a permit",
        idempotency_key="2" * 32,
        call=1,
        at=NOW,
        version=1,
        result={"value": 4242.4242},
    )
    approved = stored().after(Approve(), NOW).model_copy(update={"outbox": (result,)})
    book.put(approved)
    book.note(ActivityLine(at=NOW, kind="request", by="bank_1", words="A request came."))
    book.say_consent("bank_1", "dpv:CreditChecking", True, 7)
    again = RequestBook(tmp_path / "book", KEY)
    assert again.requests() == (approved,) and again.get(approved.request.id) == approved
    assert again.activity() == book.activity() and len(again.activity()) == 1
    assert again.consents() == (("bank_1", "dpv:CreditChecking"),)
    assert again.next_signing_time(0) == 8
    for path in (tmp_path / "book").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        for word in (b"4242", b"bank_1", b"CreditChecking", b"amount", b"permit"):
            assert word not in path.read_bytes()
    with pytest.raises(StoreDamaged):
        RequestBook(tmp_path / "book", b"c" * 32)
    with pytest.raises(UnknownName):
        again.get("f" * 32)


def test_altered_swapped_removed_and_older_files_are_found(tmp_path: Path) -> None:
    book = RequestBook(tmp_path / "book", KEY)
    book.add(stored(1), NOW)
    book.add(stored(2), NOW)
    (first,) = (tmp_path / "book").glob(f"{1:032x}-*")
    old = first.read_bytes()
    book.put(stored(1).after(Deny("no"), NOW))
    newer, second = (next((tmp_path / "book").glob(f"{n:032x}-*")) for n in (1, 2))

    def opened(change: str) -> None:
        folder = tmp_path / change
        shutil.copytree(tmp_path / "book", folder)
        one, two = folder / newer.name, folder / second.name
        data = bytearray(one.read_bytes())
        match change:
            case "altered":
                data[len(data) // 2] ^= 1
                one.write_bytes(data)
            case "cut":
                one.write_bytes(data[:30])
            case "swapped":
                one.write_bytes(two.read_bytes())
            case "older":
                one.write_bytes(old)
            case "removed":
                one.unlink()
        RequestBook(folder, KEY)

    opened("the control")
    for change in ("altered", "cut", "swapped", "older", "removed"):
        with pytest.raises(StoreDamaged):
            opened(change)


def test_an_interrupted_change_leaves_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = RequestBook(tmp_path / "book", KEY)
    book.add(stored(), NOW)
    write = book._write

    def interrupted(name: str, content: object) -> None:
        if name == request_book.INDEX:
            raise OSError("the disk is gone")
        write(name, content)

    monkeypatch.setattr(book, "_write", interrupted)
    with pytest.raises(OSError, match="gone"):
        book.put(stored().after(Deny("no"), NOW))
    again = RequestBook(tmp_path / "book", KEY)
    assert again.requests() == (stored(),)
    assert len(list((tmp_path / "book").glob("*.request"))) == 1, "the rest was removed"


def test_numbers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_book, "MOST_REQUESTS", 3)
    monkeypatch.setattr(request_book, "MOST_OPEN_OF_ONE", 2)
    monkeypatch.setattr(request_book, "MOST_LINES", 5)
    book = RequestBook(tmp_path / "book", KEY)
    book.add(stored(1), NOW)
    with pytest.raises(RequestClosed):
        book.add(stored(1), NOW)
    book.add(stored(2), NOW)
    with pytest.raises(QuotaExceeded):
        book.add(stored(3), NOW)
    book.put(stored(1).after(Deny("no"), NOW))
    book.add(stored(3), NOW)
    book.put(stored(3).after(Deny("no"), NOW))
    book.add(stored(4), NOW)
    assert [r.request.id[-1] for r in book.requests()] == ["2", "3", "4"], "the oldest closed went"
    for _ in range(8):
        book.note(ActivityLine(at=NOW, kind="data", by="me", words="."))
    assert len(book.activity()) == 5


def test_many_requests_do_not_hide_a_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_book, "MOST_LINES", 6)
    book = RequestBook(tmp_path / "book", KEY)

    def kinds(kind: Any, count: int) -> list[str]:
        for _ in range(count):
            book.note(ActivityLine(at=NOW, kind=kind, by="bank_1", words="."))
        return [line.kind for line in book.activity()]

    assert kinds("use", 1) == ["use"]
    assert kinds("request", 20) == ["use", *5 * ["request"]]
    assert kinds("use", 20)[-3:] == 3 * ["use"]
    assert "request" in kinds("request", 3), "the control: uses do not hide requests either"


def test_an_owner_can_revoke_however_often_a_request_was_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_book, "MOST_EVENTS", 12)
    monkeypatch.setattr(request_book, "LAST_EVENTS", 4)
    kept = stored(uses=Uses(count=100)).after(Approve(), NOW).after(Activate(), NOW)
    with pytest.raises(RequestClosed, match="too often"):
        for number in range(100):
            kept = kept.after(Issue(f"{number:032x}", NOW + 300), NOW)
    kept = kept.after(Begin(f"{0:032x}"), NOW)
    with pytest.raises(RequestClosed, match="too often"):
        for _ in range(100):
            kept = kept.after(Pause(), NOW).after(Resume(), NOW)
    revoked = kept.after(Revoke("enough"), NOW)
    assert revoked.state().status == "revoked" and len(revoked.events) <= 12


EVENTS = st.one_of(
    st.just(Approve()),
    st.just(Approve(Grant(("month",), Uses(count=2, period="day"), NOW + 40_000))),
    st.just(Deny("no")),
    st.just(Activate()),
    st.just(Pause()),
    st.just(Resume()),
    st.just(Revoke("enough")),
    st.builds(lambda n, life: (n, life), st.integers(0, 3), st.integers(1, 300)),
    st.builds(lambda n: Begin(f"{n:032x}"), st.integers(0, 3)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 400)), max_size=25))
def test_the_stored_events_give_the_state_that_was_reached(steps: list[tuple]) -> None:
    """Also after permits that were never used have been left out."""
    kept, state, now = stored(), RequestState(a_request(id=f"{1:032x}")), NOW
    for number, (made, seconds) in enumerate(steps):
        now += seconds
        event: Event = made
        if isinstance(made, tuple):
            event = Issue(f"{made[0]:032x}", now + made[1])
        try:
            state = step(state, event, now)
        except TrisealError:
            with pytest.raises(TrisealError):
                kept.after(event, now)
            continue
        kept = StoredRequest.model_validate_json(kept.after(event, now).model_dump_json())
        assert number >= 0
    assert request_book.request_state.at(kept.state(), now) == request_book.request_state.at(
        state, now
    )
    assert replay(kept.request, [(e.event, e.at) for e in kept.events]) == kept.state()
