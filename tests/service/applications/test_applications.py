"""The state machine and the storage without HTTP, on each database, with a simulated clock."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.applications.credentials import READ, SEND
from service.applications.party_tokens import MOST_TOKENS, RENEWED_SECONDS
from service.applications.rules import count_live
from service.execution.interface import Evaluated
from service.garbage_collector import (
    ORPHAN_SECONDS,
    TOMBSTONE_SECONDS,
    remove_orphans,
    sweep,
)
from service.storage.storage import Storage
from tests.service.played import PUBLIC, Played
from tests.service.storages import open_storage, settings_of
from utils.errors import (
    AlreadyRunning,
    AlreadySent,
    ApplicationExpired,
    ForbiddenScope,
    ForeignMessage,
    NotAuthorised,
    OutOfStep,
    QuotaExceeded,
    StorageFull,
    TooManyRequests,
    TrisealError,
    UnknownApplication,
)

HOUR = 3600.0
SLOT = (PUBLIC.slots[0].party, PUBLIC.slots[0].file_name)


def test_only_one_of_concurrent_joins_succeeds(played: Played) -> None:
    opened = played.applications.open()
    party, code = next(iter(opened.join_codes.items()))
    barrier = threading.Barrier(8)

    def join(_: int) -> bool:
        barrier.wait()
        try:
            return bool(played.party_tokens.join(opened.client_id, party, code))
        except TrisealError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(join, range(8))) == 1


def test_concurrent_openings_respect_the_limit(played: Played) -> None:
    barrier = threading.Barrier(16)

    def begin(_: int) -> bool:
        barrier.wait()
        try:
            return bool(played.applications.open())
        except TrisealError:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(begin, range(16))) == 10
    with played.storage.read() as session:
        assert count_live(session, played.clock()) == 10
    assert played.blobs() == set()


def test_tokens_are_renewed_revoked_and_expire(played: Played) -> None:
    opened = played.open()
    client_id, first = opened.client_id, played.tokens[opened.client_id]
    second = played.party_tokens.renew(client_id, first)
    played.slots.admit(client_id, first, *SLOT)
    played.clock.now += RENEWED_SECONDS
    with pytest.raises(NotAuthorised, match="has expired"):
        played.slots.admit(client_id, first, *SLOT)
    played.slots.admit(client_id, second.token, *SLOT)
    played.party_tokens.revoke(client_id, second.token)
    with pytest.raises(NotAuthorised):
        played.slots.admit(client_id, second.token, *SLOT)
    with pytest.raises(NotAuthorised, match="party's token"):
        played.party_tokens.renew(client_id, opened.watch_token)


def test_number_of_tokens_per_party_is_limited(played: Played) -> None:
    opened = played.open()
    client_id, token = opened.client_id, played.tokens[opened.client_id]
    for _ in range(MOST_TOKENS - 1):
        token = played.party_tokens.renew(client_id, token).token
    with pytest.raises(TooManyRequests, match="use the newest"):
        played.party_tokens.renew(client_id, token)
    played.slots.admit(client_id, token, *SLOT)
    played.clock.now += RENEWED_SECONDS
    played.party_tokens.renew(client_id, token)


def test_token_permits_only_its_scopes(played: Played) -> None:
    opened = played.applications.open()
    party, code = next(iter(opened.join_codes.items()))
    joined = played.party_tokens.join(opened.client_id, party, code, [SEND])
    assert joined.scopes == (SEND,)
    played.slots.admit(opened.client_id, joined.token, *SLOT)
    with pytest.raises(ForbiddenScope, match=READ):
        played.applications.output(opened.client_id, joined.token, "decide")
    with pytest.raises(ForbiddenScope):
        played.jobs.ask(opened.client_id, joined.token, "decide")
    with pytest.raises(ForbiddenScope):
        played.applications.remove(opened.client_id, joined.token)
    assert played.party_tokens.renew(opened.client_id, joined.token).scopes == (SEND,)


def test_upload_is_refused_if_a_run_started_meanwhile(played: Played) -> None:
    opened = played.ready()
    place = played.place(opened.client_id, *SLOT)
    before = played.blobs()
    played.ask(opened.client_id)
    with pytest.raises(AlreadyRunning):
        played.fill(opened.client_id, place, b"later")
    claim = played.claims.claim()
    assert claim is not None
    with pytest.raises(AlreadyRunning):
        played.fill(opened.client_id, place, b"later")
    played.claims.finish(claim, Evaluated(b"result", 0.5, 0.0))
    with pytest.raises(AlreadySent):
        played.fill(opened.client_id, place, b"later")
    result = hashlib.sha256(b"result").hexdigest()
    assert {name for _, name in played.blobs() - before} == {result}


def test_replaced_upload_is_removed_unless_content_is_equal(played: Played) -> None:
    opened = played.ready()
    place = played.place(opened.client_id, *SLOT)
    before = played.blobs()
    played.fill(opened.client_id, place, b"other")
    assert len(played.blobs()) == len(before) + 1 - _alone(place.slot.party)
    played.fill(opened.client_id, place, b"other")
    played.ask(opened.client_id)
    evaluation = played.claims.claim().evaluation
    assert played.storage.blobs.read(place.store, evaluation.messages[SLOT]) == b"other"


def _alone(party: str) -> int:
    """Return the expected count: 1 if the party has one slot, since no other has its content."""
    return int(sum(slot.party == party for slot in PUBLIC.slots) == 1)


def test_application_and_storage_quotas_are_enforced(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "small", application_megabytes=0.0001)
    storage = Storage(settings)
    played = Played(storage, settings)
    opened = played.open()
    place = played.place(opened.client_id, *SLOT)
    played.fill(opened.client_id, place, bytes(60))
    with pytest.raises(QuotaExceeded):
        played.fill(opened.client_id, place, bytes(50))
    assert len(played.blobs()) == 1, "the first upload"
    storage.close()
    settings = settings_of(tmp_path / "small", storage_megabytes=0.0001)
    storage = Storage(settings)
    played = Played(storage, settings)
    other = played.open()
    with pytest.raises(StorageFull):
        played.fill(other.client_id, played.place(other.client_id, *SLOT), bytes(50))
    played.fill(other.client_id, played.place(other.client_id, *SLOT), bytes(40))
    with pytest.raises(StorageFull):
        played.place(other.client_id, *SLOT)
    storage.close()


def test_sweep_erases_expired_applications_and_leaves_tombstones(played: Played) -> None:
    over, claim = played.running()
    played.claims.finish(claim, Evaluated(b"result", 0.5, 0.0))
    played.clock.now += HOUR / 2
    later = played.ready()
    stores = {store for store, _ in played.blobs()}
    assert sweep(played.storage, played.clock()).applications == []
    played.clock.now += HOUR / 2
    with pytest.raises(ApplicationExpired):
        played.applications.state(over.client_id)
    swept = sweep(played.storage, played.clock())
    assert swept.applications == [over.client_id]
    assert swept.stores == [claim.evaluation.store]
    assert {store for store, _ in played.blobs()} == stores - {claim.evaluation.store}
    assert played.applications.state(later.client_id).state == "ready"
    with pytest.raises(ApplicationExpired):
        played.applications.state(over.client_id)
    sweep(played.storage, played.clock() + TOMBSTONE_SECONDS)
    with pytest.raises(UnknownApplication):
        played.applications.state(over.client_id)


def test_orphaned_blob_of_a_crash_is_swept(played: Played) -> None:
    opened = played.ready()
    known = played.blobs()
    store = next(iter(known))[0]
    blobs, arriving = played.storage.blobs, played.storage.incoming.new()
    arriving.write_bytes(b"cut off while it arrived")
    blobs.write(store, b"of an upload whose row never came")
    blobs.write("0" * 32, b"of an application whose row never came")
    assert remove_orphans(played.storage, ORPHAN_SECONDS) == []
    assert len(played.blobs()) == len(known) + 2, "they may be on their way"
    assert arriving.exists()
    assert remove_orphans(played.storage, -1.0) == ["0" * 32]
    assert played.blobs() == known
    assert not arriving.exists()
    assert played.applications.state(opened.client_id).state == "ready"


def test_blobs_of_a_partly_erased_application_are_swept(played: Played) -> None:
    opened = played.ready()
    kept = played.ready()

    played.applications.remove(opened.client_id, played.tokens[opened.client_id])
    with pytest.raises(UnknownApplication):
        played.applications.state(opened.client_id)
    assert len({store for store, _ in played.blobs()}) == 2
    remove_orphans(played.storage, -1.0)
    assert len({store for store, _ in played.blobs()}) == 1
    assert played.applications.state(kept.client_id).state == "ready"


def test_an_application_of_another_model_is_not_run(played: Played) -> None:
    opened = played.ready()
    newer = PUBLIC.model_copy(update={"model_version": "stand-in-2"})
    redeployed = Played(played.storage, played.settings, played.clock, newer)
    redeployed.tokens, redeployed.keys = played.tokens, played.keys
    with pytest.raises(ForeignMessage, match="model has changed"):
        redeployed.ask(opened.client_id)
    with pytest.raises(ForeignMessage, match="model has changed"):
        redeployed.place(opened.client_id, *SLOT)


def test_output_before_the_run_is_refused(played: Played) -> None:
    opened = played.ready()
    with pytest.raises(OutOfStep):
        played.applications.output(opened.client_id, played.tokens[opened.client_id], "decide")


def test_folder_is_used_by_one_server(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "data")
    with pytest.raises(TrisealError, match="Another server uses"):
        open_storage(tmp_path / "data")
    storage.close()
    open_storage(tmp_path / "data").close()
