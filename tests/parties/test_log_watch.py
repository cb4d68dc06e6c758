"""Agents cosign the log, and permit nothing more once it was rolled back or forked.

The server is a double that keeps real logs in memory: what is tested is the agents' side.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import verify
from contract.governance import ConsistencyProof, LogFacts
from governance.log.checkpoint import Checkpoint
from governance.log.merkle import consistency_proof
from parties import log_watch
from parties.log_client import LogClient
from parties.log_watch import LogWatch
from tests.parties.running import until
from trials.logged_uses import ORIGIN, Log, a_log, public_of
from utils.errors import LogInconsistent, ServerUnreachable

BANK, AGENCY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


class Server(LogClient):
    """A log that is shown to one agent; `lines` are the cosignatures that it was given."""

    def __init__(self, log: Log) -> None:
        super().__init__("http://127.0.0.1:9", 1)
        self.log, self.down = log, False
        self.lines: dict[int, str] = {}
        self.cosigners = {"Bank": BANK, "Agency": AGENCY}

    def log_facts(self) -> LogFacts:
        if self.down:
            raise ServerUnreachable("down")
        keys = {name: key.public_key().public_bytes_raw() for name, key in self.cosigners.items()}
        log_key = public_of("log").hex()
        return LogFacts(
            origin=ORIGIN,
            size=len(self.log.entries),
            key=log_key,
            verifier_key="",
            permit_key=log_key,
            cosigners={name: key.hex() for name, key in keys.items()},
        )

    def checkpoint(self) -> str:
        return self.log.head().text()

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        hashes = consistency_proof(self.log.store, old, new)
        return ConsistencyProof(hashes=[each.hex() for each in hashes])

    def add_cosignature(self, size: int, line: str) -> None:
        self.lines[size] = line


def watch_of(server: Server, home: Path, key: Ed25519PrivateKey = BANK) -> LogWatch:
    home.mkdir(exist_ok=True)
    return LogWatch(server, home, key)


def test_an_agent_cosigns_each_new_checkpoint_once(tmp_path):
    server = Server(a_log(1, 2))
    watch = watch_of(server, tmp_path)
    size = len(server.log.entries)
    assert watch.look() == size and watch.look() is None
    server.log = a_log(1, 3)  # it continues the first one
    assert watch.look() == len(server.log.entries) > size
    assert set(server.lines) == {size, len(server.log.entries)}
    server.cosigners = {"Agency": AGENCY}
    server.log = a_log(1, 4)
    assert watch.look() is None and len(server.lines) == 2


@pytest.mark.parametrize("attack", ["rolled back", "fork"])
def test_a_log_that_does_not_continue_is_told_and_kept_over_restarts(tmp_path, attack):
    server = Server(a_log(1, 3))
    assert watch_of(server, tmp_path).look()
    server.log = a_log(1, 2) if attack == "rolled back" else a_log(2, 4)
    signed = len(server.lines)
    watch = watch_of(server, tmp_path)  # a new process of the agent
    with pytest.raises(LogInconsistent, match="does not continue"):
        watch.look()
    server.log = a_log(1, 3)  # the honest log is shown again
    again = watch_of(server, tmp_path)
    with pytest.raises(LogInconsistent, match="Nothing more is permitted"):
        again.require_sound()
    assert len(server.lines) == signed, "a log at fault is not cosigned"
    (tmp_path / log_watch.FAULT_FILE).unlink()  # a person has cleared it up
    watch_of(server, tmp_path).require_sound()


def test_a_server_that_is_away_is_no_fault(tmp_path):
    server = Server(a_log(1, 2))
    watch = watch_of(server, tmp_path)
    server.down = True
    with pytest.raises(ServerUnreachable):
        watch.look()
    watch.require_sound()


def test_the_thread_tells_once_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(log_watch, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(log_watch, "REST_SECONDS", 0.0)
    server, told = Server(a_log(1, 2)), []
    watch = LogWatch(server, tmp_path, BANK, lambda: told.append(watch.fault))
    watch.note()
    until(lambda: server.lines)
    server.log = a_log(2, 2)
    watch.note()
    until(lambda: told)
    assert told == [watch.fault] and watch.fault is not None
    watch.stop()


def test_a_fork_shown_to_two_parties_is_found_when_they_compare(tmp_path, capsys):
    """Each sees a log that only grows; only the comparison of their checkpoints finds the fork."""
    one, other = Server(a_log(1, 2)), Server(a_log(2, 2))
    assert watch_of(one, tmp_path / "bank").look()
    assert watch_of(other, tmp_path / "agency", AGENCY).look()
    trust = {
        "log": {"origin": ORIGIN, "key": public_of("log").hex()},
        "cosigners": {},
        "owners": {},
        "witnesses": {},
    }
    (tmp_path / "trust").write_text(json.dumps(trust))

    def verdict(bank: Server, agency: Server) -> int:
        """Compare what the two were shown, each with its own cosignature."""
        for name, server in (("a", bank), ("b", agency)):
            note = server.log.head()
            size = Checkpoint.parse(note.body).size
            (tmp_path / name).write_text(note.with_lines([server.lines[size]]).text())
        paths = [str(tmp_path / "a"), str(tmp_path / "b")]
        return verify.main(["--checkpoints", *paths, "--trust", str(tmp_path / "trust")])

    assert len(one.log.entries) == len(other.log.entries)
    assert verdict(one, other) == 1 and "a fork" in capsys.readouterr().out
    assert verdict(one, one) == 0, "control: the same log shown to both passes"
