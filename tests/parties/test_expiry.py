"""The expiry of a party's files of an application."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties import expiry_timer
from parties.agent import Agent
from parties.client import ServerClient
from parties.connection import Connection
from parties.expiry import Expiry, erase_expired, read_expiry, seconds_left, write_expiry
from parties.expiry_timer import ExpiryTimer
from parties.joint.codes import open_joint
from parties.joint.member import JointMember
from parties.single_key.session import ApplicationSession
from parties.store import TOKEN, PartyStore
from tests.parties.agents import AgentProcess
from tests.parties.running import LiveServer, until
from utils.marked_folder import MARK

ONE, TWO, THREE = "0" * 32, "1" * 32, "2" * 32
HOUR = 3600.0


def said(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def told(joined, created, end):
    return Expiry(joined=joined).as_told(said(created), said(end))


def files_of(home):
    names = [path.name for path in home.rglob("*") if path.is_file()]
    return [name for name in names if name != ".lock"]


@pytest.fixture(scope="module", autouse=True)
def expiring(tmp_path_factory, levelled_deployment):
    """Return an agent with an application that expires while the other tests run.

    The server, which let it last for some seconds only, is killed.
    """
    folder = tmp_path_factory.mktemp("expiring")
    server = LiveServer(folder, levelled_deployment, "levelled")
    server.settings["application_hours"] = 20 / HOUR
    server.start()
    with ServerClient(server.url, 30) as client:
        opening = open_joint(client)
    agent = AgentProcess(folder, "bank", server.url, "--join", opening.codes["bank"])
    try:
        agent.wait_for("joined.")
        until(lambda: "expiry.json" in files_of(agent.home))
        assert {"identity", "token"} <= set(files_of(agent.home))
        server.kill()
        yield agent.home, opening.client_id
    finally:
        agent.kill()
        server.stop()


def test_server_end_time_is_used_within_the_own_limit():
    now = 1e9
    assert told(now, now, now + 2 * HOUR).seconds_left(now, 24) == 2 * HOUR
    assert told(now, now, now + 99 * HOUR).seconds_left(now, 24) == 24 * HOUR
    assert Expiry(joined=now).seconds_left(now + HOUR, 24) == 23 * HOUR


def test_fast_clock_does_not_expire_an_application_at_once():
    """By this clock the server's end time is in the past: the application's lifetime counts."""
    here, there = 2e9, 1e9
    found = told(here, there, there + 2 * HOUR)
    assert found.seconds_left(here, 24) == 2 * HOUR
    assert found.seconds_left(here + 3 * HOUR, 24) < 0


def test_clock_set_back_does_not_keep_files_forever():
    found = told(2e9, 2e9, 2e9 + HOUR)
    assert found.seconds_left(1e9, 24) == 24 * HOUR


@given(
    st.floats(0, 4e9),
    st.one_of(st.text(max_size=30), st.datetimes().map(str)),
    st.one_of(st.text(max_size=30), st.datetimes().map(str)),
    st.floats(0.001, 24 * 365),
    st.floats(0, 4e9),
)
def test_server_cannot_extend_the_own_limit(joined, created, end, hours, now):
    left = Expiry(joined=joined).as_told(created, end).seconds_left(now, hours)
    assert left <= hours * HOUR and left <= joined + hours * HOUR - now


def test_own_limit_is_used_without_a_server_time():
    plain = Expiry(joined=1e9)
    for text in ("", "soon", "99999-01-01", "2026-13-01T00:00:00+00:00"):
        assert plain.as_told(text, text) == plain


@pytest.fixture
def store(tmp_path):
    return PartyStore(tmp_path / "parties")


def test_only_expired_files_are_erased(store):
    now = time.time()
    for client_id, until_ in ((ONE, now - 1), (TWO, now + 60), (THREE, now - 1)):
        for party in ("bank", "applicant"):
            store.write(client_id, party, TOKEN, b"t")
            write_expiry(store, client_id, party, Expiry(joined=now - 9, until=until_))
    (store.root / "notes").mkdir()
    (store.root / "notes" / "old").write_text("mine")
    with store.hold(THREE, "bank"):  # a process plays the party
        left = erase_expired(store, 24)
    assert 50 < left <= 60
    assert sorted(path.name for path in store.root.iterdir()) == sorted([MARK, TWO, THREE, "notes"])
    assert store.parties(THREE) == ["bank"]
    assert erase_expired(store, 24, "applicant") <= 60 and store.parties(THREE) == ["bank"]
    assert erase_expired(store, 24) <= 60 and not store.application_folder(THREE).exists()


def test_files_without_an_expiry_are_kept_for_the_own_limit(store):
    for client_id in (ONE, TWO):
        store.write(client_id, "bank", TOKEN, b"t")
    past = time.time() - 3 * HOUR
    os.utime(store.root / ONE, (past, past))
    store.write(ONE, "bank", "expiry.json", b"damaged")
    os.utime(store.root / ONE, (past, past))
    assert read_expiry(store, ONE, "bank") is None
    assert seconds_left(store, ONE, "bank", 4) == pytest.approx(HOUR, abs=60)
    erase_expired(store, 2)
    assert {path.name for path in store.root.iterdir()} == {MARK, TWO}
    assert seconds_left(store, THREE, "bank", 2) == math.inf


def test_a_shorter_limit_applies_to_existing_files(store):
    store.write(ONE, "bank", TOKEN, b"t")
    now = time.time()
    write_expiry(store, ONE, "bank", Expiry(joined=now - 3 * HOUR, until=now + HOUR))
    assert erase_expired(store, 2) == math.inf and not store.application_folder(ONE).exists()


def test_timer_continues_after_an_error(monkeypatch):
    monkeypatch.setattr(expiry_timer, "LONGEST_WAIT_SECONDS", 0.01)
    calls, threads = [], set()

    def erase_due():
        calls.append(1)
        threads.add(threading.current_thread())
        if len(calls) == 1:
            raise OSError("the disk is full")
        return math.inf

    timer = ExpiryTimer(erase_due)
    until(lambda: len(calls) > 2)
    timer.stop()
    (thread,) = threads
    thread.join(30)
    assert not thread.is_alive()


def test_agent_erases_at_its_own_limit_despite_a_later_server_end(levelled_server, tmp_path):
    store = PartyStore(tmp_path / "bank")
    with ServerClient(levelled_server.url, 30) as client:
        agent = Agent(Connection(client, store, hours=5 / HOUR), "bank")
        opening = open_joint(client)
        application = agent.join(opening.codes["bank"])
        found = read_expiry(store, opening.client_id, "bank")
        assert found.until - found.joined > HOUR  # the server's end time
        until(lambda: application.over)
        assert "its files on this machine are erased" in application.over
        assert not store.application_folder(opening.client_id).exists()
        assert application.member.secret_bytes == 0
        agent.close()


def test_an_agent_erases_expired_files_of_earlier_applications(levelled_server, tmp_path):
    """Files left by an earlier process are erased when a later one starts, or when they expire."""
    store, now = PartyStore(tmp_path / "bank"), time.time()
    for client_id, left in ((ONE, -1), (TWO, 3), (THREE, HOUR)):
        store.write(client_id, "bank", "secret_key", b"k")
        write_expiry(store, client_id, "bank", Expiry(joined=now - HOUR, until=now + left))
    with ServerClient(levelled_server.url, 30) as client:
        agent = Agent(Connection(client, store), "bank")
        until(lambda: not store.application_folder(ONE).exists())
        until(lambda: not store.application_folder(TWO).exists())
        assert store.has(THREE, "bank", "secret_key")
        agent.close()


def test_a_resumed_application_keeps_its_expiry(group):
    members = group()
    bank = members["bank"]
    state = members.client.state(bank.client_id, members.opening.watch_token)
    found = read_expiry(members.connections["bank"].store, bank.client_id, "bank")
    assert found.until == datetime.fromisoformat(state.expires_at).timestamp()
    left = bank.seconds_left
    assert 0 < members.restart("bank").seconds_left <= left


def test_a_session_with_one_key_keeps_the_servers_end(connection):
    session = ApplicationSession.open(connection)
    end = datetime.fromisoformat(session.state().expires_at).timestamp()
    for party in session.plays:
        kept = json.loads(connection.store.read(session.client_id, party, "expiry.json"))
        assert kept["until"] == pytest.approx(end, abs=1)


def test_joining_erases_expired_files(group):
    members = group()
    store = members.connections["bank"].store
    store.write(ONE, "bank", "secret_key", b"k")
    write_expiry(store, ONE, "bank", Expiry(joined=1.0, until=2.0))
    with pytest.raises(Exception, match="join code"):
        JointMember.join(members.connections["bank"], "bank", "nonsense")
    assert store.has(ONE, "bank", "secret_key")  # the control
    opening = open_joint(members.client)
    JointMember.join(members.connections["bank"], "bank", opening.codes["bank"]).close()
    assert not store.application_folder(ONE).exists()


def test_agent_erases_at_the_server_end_time_without_calls_or_server(expiring):
    """The last test, for which the others leave the least time to wait."""
    home, client_id = expiring
    until(lambda: not (home / client_id).exists(), 60)
