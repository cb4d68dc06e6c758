"""The parties' code in forked children: connections, locks and steps."""

from __future__ import annotations

import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import backend
from engines.interface import DECIDE
from parties import exclusive
from parties.bounded_http import BoundedHttp
from parties.client import ServerClient
from settings import get_settings
from tests.forked import Child, in_child
from utils.errors import DataFolderInUse

CHILDREN = 3
BODY = b'{"status": "ok"}'


class Answering(socketserver.StreamRequestHandler):
    """Responds to every request on a connection, and records the connection that it came on."""

    def handle(self):
        while self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.server.seen.append(self.client_address[1])
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            self.wfile.write(head % len(BODY) + BODY)
        self.server.ended.append(self.client_address[1])


@pytest.fixture
def answering():
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Answering) as server:
        server.seen, server.ended = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(answering):
    """Send one request, and then another one in a child."""
    client = ServerClient(f"http://127.0.0.1:{answering.server_address[1]}", 10)
    client.health()
    in_child(lambda: client.health().status)
    return client


def test_child_uses_its_own_connections(answering):
    client = ask(answering)
    assert len(set(answering.seen)) == 2
    client.health()
    assert len(set(answering.seen)) == 2  # the parent's stays open and in use
    assert answering.seen[0] == answering.seen[2] not in answering.ended
    client.close()


def test_without_renewal_a_child_uses_its_parents_connection(answering, monkeypatch):
    """The control for the test above."""
    monkeypatch.setattr(BoundedHttp, "renew_after_fork", lambda self: None)
    ask(answering).close()
    assert len(set(answering.seen)) == 1


def test_child_closes_inherited_connections(answering):
    client = ServerClient(f"http://127.0.0.1:{answering.server_address[1]}", 10)
    client.health()
    (inherited,) = client.sockets
    descriptor = inherited.fileno()
    assert descriptor >= 0
    assert in_child(lambda: inherited.fileno()) == -1
    assert inherited.fileno() == descriptor
    client.close()


def test_locks_held_by_other_threads_are_free_in_a_child(connection, tmp_path):
    client_id = "ab" * 16
    held, done = threading.Event(), threading.Event()

    def hold():
        with connection.engine_lock, exclusive.one_thread(connection.store, client_id):
            held.set()
            done.wait(60)

    def use():
        with connection.engine_lock, exclusive.one_thread(connection.store, client_id):
            return "used"

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        held.wait(60)
        try:
            assert in_child(use) == "used"
        finally:
            done.set()
        holding.result()


def test_a_child_does_not_play_its_parents_member(group):
    members = group()
    bank = members["bank"]

    def play():
        for step in (bank.advance, lambda: bank.agree(DECIDE), bank.keep_token, bank.erase):
            with pytest.raises(DataFolderInUse, match="no longer plays bank"):
                step()
        return bank.fingerprint  # state that was already read stays accessible

    members.pump()
    assert in_child(play) == bank.fingerprint is not None
    assert members.files("bank") and bank.advance() is False


@pytest.fixture
def served(levelled_server, monkeypatch, tmp_path):
    monkeypatch.setenv("TRISEAL_SERVER_PORT", str(levelled_server.port))
    monkeypatch.setenv("TRISEAL_PARTY_DATA", str(tmp_path / "parties"))
    monkeypatch.delenv("TRISEAL_SERVER_URL", raising=False)
    get_settings.cache_clear()
    backend.connection.cache_clear()
    yield
    get_settings.cache_clear()
    backend.connection.cache_clear()


def whole_application(oracle, record):
    client_id = backend.keygen_send().client_id
    for party in oracle.schema.party_names:
        backend.pre_process_encrypt_send(client_id, party, oracle.of(party, record))
    backend.run_fhe(client_id)
    score = backend.get_output_and_decrypt(client_id).score
    backend.erase_application(client_id)
    return score


def test_children_of_a_preloaded_backend_work_concurrently(served, levelled_oracle):
    record = levelled_oracle.default()
    backend.connection()
    backend.keygen_send()  # connections that the children inherit
    children = [Child(lambda: whole_application(levelled_oracle, record)) for _ in range(CHILDREN)]
    scores = {whole_application(levelled_oracle, record), *(c.result() for c in children)}
    assert scores == {levelled_oracle.score(record)}


def test_concurrent_processes_take_steps_of_one_application(served, levelled_oracle):
    record = levelled_oracle.default()
    client_id = backend.keygen_send().client_id
    names = levelled_oracle.schema.party_names

    def send(party):
        part = levelled_oracle.of(party, record)
        return lambda: backend.pre_process_encrypt_send(client_id, party, part).party

    assert [c.result() for c in [Child(send(party)) for party in names]] == names
    runs = [Child(lambda: backend.run_fhe(client_id).seconds) for _ in range(CHILDREN)]
    assert len({backend.run_fhe(client_id).seconds, *(c.result() for c in runs)}) == 1

    def opened():
        return backend.get_output_and_decrypt(client_id).score

    opening = [Child(opened) for _ in range(CHILDREN)]
    assert {opened(), *(c.result() for c in opening)} == {levelled_oracle.score(record)}

    def explained():
        return backend.explain_encrypt_run_decrypt(client_id).explanation.text

    explaining = [Child(explained) for _ in range(CHILDREN)]
    assert {explained(), *(c.result() for c in explaining)} == {
        levelled_oracle.explanation(record).text
    }
