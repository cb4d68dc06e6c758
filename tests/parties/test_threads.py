"""Concurrent steps of one application: the outcome is as if they had run one after another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

import backend
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY, KeyPair
from features.encoding import Layout
from parties.results import ProgramRun
from parties.single_key import session as session_module
from parties.single_key.session import ApplicationSession
from parties.store import RECORD, SECRET_KEY, PartyStore
from settings import get_settings
from tests.parties import test_keys
from tests.parties.running import until
from utils.errors import AlreadySent, OutOfStep, RunCancelled, UnknownApplication
from utils.marked_folder import MARK

ROUNDS = 4


@pytest.fixture(params=["levelled_server", "live_server"], ids=["joint", "one key"])
def served(request, monkeypatch, tmp_path):
    server = request.getfixturevalue(request.param)
    monkeypatch.setenv("TRISEAL_SERVER_PORT", str(server.port))
    monkeypatch.setenv("TRISEAL_PARTY_DATA", str(tmp_path / "parties"))
    monkeypatch.delenv("TRISEAL_SERVER_URL", raising=False)
    get_settings.cache_clear()
    backend.connection.cache_clear()
    yield server
    get_settings.cache_clear()
    backend.connection.cache_clear()


@pytest.fixture
def truth(served, request):
    """The oracle for the server's engine."""
    joint = served.settings["engine"] == "levelled"
    return request.getfixturevalue("levelled_oracle" if joint else "oracle")


def at_once(*calls):
    """Start each call in its own thread; return their results and errors."""
    start = threading.Barrier(len(calls))

    def one(call):
        start.wait(60)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def send(client_id, truth, party, record):
    return backend.pre_process_encrypt_send(client_id, party, truth.of(party, record))


def sent_application(truth, record):
    client_id = backend.keygen_send().client_id
    for party in truth.schema.party_names:
        send(client_id, truth, party, record)
    return client_id


def test_two_threads_run_and_both_get_the_result(served, truth):
    record = truth.default()
    for _ in range(ROUNDS):
        client_id = sent_application(truth, record)
        runs = at_once(*[lambda c=client_id: backend.run_fhe(c)] * 2)
        assert [type(run) for run in runs] == [ProgramRun] * 2, runs
        assert runs[0].seconds == runs[1].seconds
        assert backend.get_output_and_decrypt(client_id).score == truth.score(record)


def test_every_step_may_run_twice_concurrently(served, truth):
    record = truth.default()
    client_id = backend.keygen_send().client_id
    sends = [
        lambda p=party: send(client_id, truth, p, record)
        for party in (*truth.schema.party_names, *truth.schema.party_names)
    ]
    assert [one.client_id for one in at_once(*sends)] == [client_id] * len(sends)
    runs = at_once(*[lambda: backend.run_fhe(client_id).program] * 3)
    assert runs == [DECIDE] * 3
    opened = at_once(*[lambda: backend.get_output_and_decrypt(client_id).score] * 3)
    assert opened == [truth.score(record)] * 3
    explain = [lambda: backend.explain_encrypt_run_decrypt(client_id).explanation.text] * 3
    assert at_once(*explain) == [truth.explanation(record).text] * 3
    folder = backend.connection().store.root / client_id
    erased = at_once(*[lambda: backend.discard_application(client_id)] * 3)
    assert erased == [None] * 3 and not folder.exists()


def test_steps_in_any_order_succeed_or_raise_out_of_step(served, truth):
    """No order of the steps looks like misbehaviour of the server; the final result is right."""
    record = truth.default()
    client_id = backend.keygen_send().client_id

    def steps():
        for party in truth.schema.party_names:
            yield lambda p=party: send(client_id, truth, p, record)
        yield lambda: backend.run_fhe(client_id)
        yield lambda: backend.get_output_and_decrypt(client_id)
        yield lambda: backend.explain_encrypt_run_decrypt(client_id)

    given = at_once(*steps())
    refused = [found for found in given if isinstance(found, Exception)]
    assert all(isinstance(error, OutOfStep) for error in refused), refused
    backend.run_fhe(client_id)
    assert backend.get_output_and_decrypt(client_id).score == truth.score(record)


def test_a_run_is_cancelled_from_another_thread(served, truth):
    client_id = sent_application(truth, truth.default())
    with ThreadPoolExecutor(2) as pool, served.stuck():
        news = [[], []]
        runs = [pool.submit(backend.run_fhe, client_id, news=told.append) for told in news]
        until(lambda: all(told and told[-1].status == "running" for told in news))
        backend.cancel_run(client_id)
        for run in runs:
            with pytest.raises(RunCancelled):
                run.result(60)
    assert backend.run_fhe(client_id).seconds >= 0


def test_concurrent_changes_after_the_decision_open_one_new_application(served, truth):
    record = truth.default()
    client_id = sent_application(truth, record)
    backend.run_fhe(client_id)
    names = truth.schema.party_names
    given = at_once(*[lambda p=party: send(client_id, truth, p, record) for party in names[:2]])
    fresh = [one for one in given if not isinstance(one, Exception)]
    (late,) = [one for one in given if isinstance(one, Exception)]
    assert isinstance(late, UnknownApplication)
    kept = {path.name for path in backend.connection().store.root.iterdir()}
    assert kept == {MARK, fresh[0].client_id}
    backend.run_fhe(fresh[0].client_id)
    assert backend.get_output_and_decrypt(fresh[0].client_id).score == truth.score(record)


def test_step_writes_nothing_for_an_erased_application(served, truth):
    record, store = truth.default(), backend.connection().store
    for _ in range(ROUNDS):
        client_id = backend.keygen_send().client_id

        def keep_sending(client_id=client_id):
            with suppress(UnknownApplication):
                while True:
                    send(client_id, truth, "bank", record)

        def discard(client_id=client_id):
            until(lambda: store.has(client_id, "bank", RECORD))
            backend.discard_application(client_id)

        assert at_once(keep_sending, discard) == [None, None]
        assert not store.application_folder(client_id).exists()


class CountedKeys(test_keys.StubEngine):
    """Makes different keys each time, in as many threads at once as possible."""

    def __init__(self):
        self.made, self.meeting = 0, threading.Barrier(2)

    def make_keys(self):
        with suppress(threading.BrokenBarrierError):
            self.meeting.wait(1)
        self.made += 1
        secret = b"secret %d" % self.made
        evaluation = test_keys.seal(test_keys.HEADER, secret + bytes(100))
        return KeyPair(secret=secret, evaluation=evaluation)


def keys_made_twice(schema, folder):
    """Make keys in two threads; return the outcomes, the stored secret, and the key sent."""
    client = test_keys.StubClient(schema.party_names, {})
    connection = test_keys.SimpleNamespace(
        client=client,
        store=PartyStore(folder),
        hours=24.0,
        witnesses=None,
        engine_lock=contextmanager(lambda: iter([None])),
        engine=CountedKeys(),
        layout=Layout(schema),
        public=test_keys.public_model(schema, 8),
    )

    class Open:
        __enter__ = __exit__ = lambda *_: None

    connection.engine_lock = Open()
    session = ApplicationSession.open(connection)
    outcomes = at_once(session.make_keys, session.make_keys)
    holder = session.key_holder
    kept = connection.store.read(session.client_id, holder, SECRET_KEY)
    return outcomes, kept, client.slots[session.client_id][holder, EVALUATION_KEY]


def test_keys_are_made_once_by_two_threads(schema, tmp_path):
    outcomes, kept, sent = keys_made_twice(schema, tmp_path)
    assert sorted(type(one).__name__ for one in outcomes) == ["AlreadySent", "KeysMade"]
    assert isinstance(next(o for o in outcomes if isinstance(o, Exception)), AlreadySent)
    assert kept == b"secret 1" and kept in sent


def test_without_the_lock_two_threads_make_two_keys(schema, tmp_path, monkeypatch):
    """Control for the test above: the last key sent need not match the last secret stored."""

    @contextmanager
    def nothing(*_):
        yield

    monkeypatch.setattr(session_module, "one_step", nothing)
    outcomes, _, _ = keys_made_twice(schema, tmp_path)
    assert [type(one).__name__ for one in outcomes] == ["KeysMade", "KeysMade"]


def test_server_and_party_keep_the_same_record(served, truth):
    """Server and party keep the same one of two records that are sent at once."""
    client_id = backend.keygen_send().client_id
    young, old = ({"Account_age": months} for months in (0, 600))
    sends = [
        lambda r=record: backend.pre_process_encrypt_send(client_id, "bank", r)
        for record in (young, old)
    ]
    given = at_once(*sends)
    kept = [one for one in given if one.fresh] or given  # the second of joint keys has new ones
    session = backend.session_of(kept[0].client_id)
    for party in truth.schema.party_names:
        if party != "bank":
            session.send(party, truth.of(party, truth.default()))
    held = session.state().sha256_of("bank", ENCRYPTED_INPUTS)
    assert held in [one.sha256 for one in kept]
    assert session.is_sent("bank", young) is not session.is_sent("bank", old)
