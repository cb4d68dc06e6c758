"""An owner's permits count once on several servers, and not after a revocation."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from governance.log.entries import Entry
from governance.permits import PERMIT_SECONDS
from service.governance.integrity import Audits
from service.governance.log import ENTRIES
from service.governance.log_view import LogView
from service.sessions import session_log
from service.sessions.session_log import SessionLog, owner_id
from service.sessions.sessions import KEPT_SECONDS, SAFE_SECONDS, remove_old_sessions
from service.storage.storage import Storage
from settings import OwnerAgent, Settings
from tests.service.sessions.pairs import RECEIPT, REQUEST, Pair, hex_of
from utils.errors import (
    AlreadySent,
    ConsentMissing,
    ForbiddenScope,
    InvalidRequest,
    OutOfStep,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    QuotaExceeded,
    TrisealError,
    UnknownName,
)


@pytest.fixture
def pair(storage: Storage, settings: Settings) -> Pair:
    return Pair(storage, settings)


def entries(pair: Pair, kind: str) -> list[Entry]:
    with pair.storage.read() as session:
        rows = session.scalars(
            select(ENTRIES.c.data).where(ENTRIES.c.kind == kind).order_by(ENTRIES.c.number)
        )
        return [Entry.parse(bytes(data)) for data in rows]


def test_a_permit_counts_once_on_any_of_several_servers(pair: Pair) -> None:
    permit = pair.permit()
    second, _ = pair.session()
    servers = [pair.server() for _ in range(2)]
    places = [{}, {"session_id": second.session_id, "token": second.token}]

    def attempt(number: int) -> int | None:
        try:
            return pair.use(permit, server=servers[number % 2], **places[number // 2 % 2])
        except PermitSpent:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = [entry for entry in pool.map(attempt, range(8)) if entry is not None]
    (use,) = entries(pair, "use")
    assert len(found) == 1
    assert use.digests["request"] == (REQUEST,) and use.digests["receipt"] == (RECEIPT,)
    assert Audits(pair.storage, pair.settings).result().healthy
    # Another permit for the same request is another use.
    assert pair.use(pair.permit()) == found[0] + 1


def test_the_call_that_succeeded_can_be_repeated_by_its_key_alone(pair: Pair) -> None:
    permit, key = pair.permit(), secrets.token_hex(16)
    entry = pair.use(permit, key)
    pair.clock.now += PERMIT_SECONDS + 1
    assert pair.use(permit, key) == entry, "after a crash, also when the permit has expired"
    for other in (None, secrets.token_hex(16)):
        with pytest.raises(PermitSpent):
            pair.use(permit, other)
    assert len(entries(pair, "use")) == 1


def test_a_revocation_stops_what_has_not_been_used(pair: Pair) -> None:
    earlier, later = pair.permit(), pair.permit()
    other = pair.permit(sub="12" * 32)
    pair.use(earlier)
    revoked = pair.tell()
    with pytest.raises(ConsentMissing):
        pair.use(later)
    with pytest.raises(ConsentMissing):
        pair.use(pair.permit())
    pair.use(other)
    assert pair.tell(idempotency_key=secrets.token_hex(16)) == revoked + 2
    (first, _) = entries(pair, "revocation")
    assert (first.outcome, first.digests["request"]) == ("done", (REQUEST,))


def test_a_use_that_races_a_revocation_comes_before_it_or_not_at_all(pair: Pair) -> None:
    second, _ = pair.session()
    for number in range(4):
        request = f"{number:02x}" * 32
        permit = pair.permit(sub=request)

        def use(permit: str = permit) -> int | None:
            try:
                return pair.use(permit, server=pair.server())
            except ConsentMissing:
                return None

        def revoke(request: str = request) -> int:
            place = (second.session_id, second.token)
            asked = {"kind": "revocation", "digests": {"request": request}, "details": {}}
            event = session_log.SessionEventRequest.model_validate(asked)
            return pair.server().log(*place, event).entry

        with ThreadPoolExecutor(2) as pool:
            used, revoked = pool.submit(use), pool.submit(revoke)
            entry = used.result()
            assert entry is None or entry < revoked.result()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"key": Ed25519PrivateKey.generate()}, PermitInvalid),
        ({"requester": bytes(range(32))}, PermitInvalid),
        ({"requester": None}, PermitInvalid),
        ({"sub": "5b1e0f6c2d7a48938e4f1c6a9b2d7e30"}, PermitInvalid),
        ({"seconds": 1}, PermitExpired),
    ],
)
def test_permit_of_others_or_too_late_is_refused_and_not_spent(
    pair: Pair, change: dict[str, Any], error: type[TrisealError]
) -> None:
    permit = pair.permit(**change)
    pair.clock.now += 1
    with pytest.raises(error):
        pair.use(permit)
    assert entries(pair, "use") == []


def test_only_the_owner_of_a_connected_session_logs(pair: Pair) -> None:
    with pytest.raises(ForbiddenScope):
        pair.use(pair.permit(), token=pair.connected.token)
    with pytest.raises(ForbiddenScope):
        pair.tell(token=pair.connected.token)
    waiting = pair.host()
    place = {"session_id": waiting.session_id, "token": waiting.token}
    with pytest.raises(OutOfStep):
        pair.use(pair.permit(), **place)
    permit = pair.permit()
    pair.sessions.close(pair.hosted.session_id, pair.connected.token)
    with pytest.raises(OutOfStep, match="closed"):
        pair.use(permit)
    assert entries(pair, "use") == entries(pair, "revocation") == []


def test_events_are_checked_counted_and_repeated_by_key(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: dict[str, Any] = {"kind": "answer", "outcome": "reduced"}
    for wrong in (
        {"digests": {"receipt": REQUEST}},
        {"digests": {"request": REQUEST, "checkpoint": REQUEST}},
        {"outcome": "failed"},
        {"details": {"share": 0.5}},
        {"details": {"text": "\ud800"}},
        {"details": {"text": "x" * 16_000}},
        {"details": {"deep": json.loads("[" * 40 + "]" * 40)}},
    ):
        with pytest.raises(InvalidRequest):
            pair.tell(**{**answer, **wrong})
    key = secrets.token_hex(16)
    entry = pair.tell(**answer, idempotency_key=key)
    assert pair.tell(**answer, idempotency_key=key) == entry
    with pytest.raises(AlreadySent):
        pair.tell(kind="answer", outcome="denied", idempotency_key=key)
    assert len(entries(pair, "answer")) == 1
    monkeypatch.setattr(session_log, "MOST_ENTRIES", 2)
    pair.tell(**answer)
    for refused in (lambda: pair.tell(**answer), lambda: pair.use(pair.permit())):
        with pytest.raises(QuotaExceeded):
            refused()


def test_the_owner_is_known_by_the_settings_or_by_its_key(pair: Pair) -> None:
    agent = OwnerAgent(key=hex_of(pair.owner), host="127.0.0.1", port=5001)
    named = SessionLog(
        pair.storage, pair.settings.model_copy(update={"owners": {"user_1": agent}}), pair.clock
    )
    twice = SessionLog(
        pair.storage,
        pair.settings.model_copy(update={"owners": {"user_1": agent, "user_2": agent}}),
        pair.clock,
    )
    unnamed = owner_id(hex_of(pair.owner))
    for server, user in ((pair.log, unnamed), (named, "user_1"), (twice, unnamed)):
        number = pair.tell(server, kind="request", digests={"request": REQUEST})
        found = LogView(pair.storage, pair.settings).lines(
            partner=None,
            person=f"user {user}",
            status=None,
            kind="request",
            start=None,
            end=None,
            limit=1,
            offset=0,
        )
        (line,) = found.items
        assert (line.index, line.user_id) == (number, user)
        assert line.details is not None and line.details["partner_id"] == "bank_1"


def test_the_log_is_searched_by_all_conditions_together(pair: Pair) -> None:
    view, now = LogView(pair.storage, pair.settings), pair.clock.now
    answer = {"kind": "answer", "digests": {"request": REQUEST}}
    number = pair.tell(outcome="allowed", **answer)
    pair.tell(outcome="denied", **answer)
    asked: dict[str, Any] = {
        "partner": "bank_1",
        "person": f"user {owner_id(hex_of(pair.owner))}",
        "status": "allowed",
        "kind": "answer",
        "start": now - 0.5,
        "end": now + 0.5,
        "limit": 9,
        "offset": 0,
    }
    assert [line.index for line in view.lines(**asked).items] == [number]
    none = {"limit": 9, "offset": 0} | dict.fromkeys(asked.keys() - {"limit", "offset"})
    assert len(view.lines(**none).items) == 2, "without conditions"
    for wrong in (
        {"partner": "bank_2"},
        {"person": "user user_1"},
        {"status": "reduced"},
        {"kind": "use"},
        {"start": now + 0.5},
        {"end": now - 0.5},
        {"offset": 1},
    ):
        assert view.lines(**{**asked, **wrong}).items == [], wrong


def test_old_sessions_are_removed_and_used_permits_kept_long_enough(pair: Pair) -> None:
    brief, _ = pair.session(hours=0.05)
    permit = pair.permit()
    pair.use(permit, session_id=brief.session_id, token=brief.token)
    pair.clock.now += PERMIT_SECONDS
    assert remove_old_sessions(pair.storage, pair.clock.now) == 0
    assert pair.sessions.facts(brief.session_id, brief.token).state == "expired"
    pair.clock.now += KEPT_SECONDS - 100
    assert remove_old_sessions(pair.storage, pair.clock.now) == 1
    with pytest.raises(UnknownName):
        pair.sessions.facts(brief.session_id, brief.token)
    # A server whose clock is behind by less than SAFE_SECONDS would accept the permit still.
    with pytest.raises(PermitSpent):
        pair.use(permit)
    pair.clock.now += SAFE_SECONDS
    remove_old_sessions(pair.storage, pair.clock.now)
    with pytest.raises(PermitExpired):
        pair.use(permit)
