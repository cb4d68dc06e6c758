"""The log of a real server: it grows with what happens, proves itself, and shows tampering."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

import verify
from contract.governance import LogKind, LogStatus
from engines.interface import DECIDE
from governance.log.checkpoint import (
    Checkpoint,
    CosignerState,
    Note,
    require_cosigners,
    verify_checkpoint,
)
from governance.log.entries import KINDS, OUTCOMES, Entry
from governance.log.merkle import verify_consistency, verify_inclusion
from service.execution.interface import Evaluated
from service.governance.integrity import Audits
from service.governance.services import Governance
from service.storage.storage import Storage
from settings import Settings
from tests.service.driver import Application, Server, bearer, refused
from tests.service.played import Played
from tests.service.storages import settings_of
from utils.errors import SettingsInvalid

Start = Callable[..., Server]
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AUDITOR = WITNESS.public_key().public_bytes_raw()


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("logged") / "data"
    server = Server(data, witnesses=f"Auditor={AUDITOR.hex()}").wait()
    yield server
    server.stop()
    assert "Exception in ASGI application" not in server.log()


def get(server: Server, path: str, **parameters: Any) -> Any:
    answer = server.http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def note_of(server: Server, cosigned: bool = False) -> Note:
    answer = server.http.get("/log/checkpoint", params={"cosigned": cosigned})
    assert answer.status_code == 200, answer.text
    return Note.parse(answer.text)


def verified(server: Server) -> Checkpoint:
    facts = get(server, "/log")
    return verify_checkpoint(note_of(server), facts["origin"], bytes.fromhex(facts["key"]))


def entries_of(server: Server, start: int = 0) -> list[Entry]:
    found: list[Entry] = []
    while items := get(server, "/log/entries", start=start + len(found), end=10**6)["items"]:
        assert [item["index"] for item in items] == list(
            range(start + len(found), start + len(found) + len(items))
        )
        found += [Entry.from_json(item["entry"]) for item in items]
    return found


def cosign(server: Server, state: CosignerState) -> tuple[Note, CosignerState]:
    """Cosign the newest checkpoint as an honest cosigner does; return it and the new state."""
    facts, note = get(server, "/log"), note_of(server)
    size = Checkpoint.parse(note.body).size
    proof = get(server, "/log/proofs/consistency", old=state.size, new=size)["hashes"]
    line, state = state.cosign(
        note,
        bytes.fromhex(facts["key"]),
        state.size,
        [bytes.fromhex(each) for each in proof],
        name="Auditor",
        key=WITNESS,
        seconds=int(time.time()),
    )
    answer = server.http.post("/log/cosignatures", json={"size": size, "line": line})
    assert answer.status_code == 204, answer.text
    return note, state


def done(server: Server) -> Application:
    application = server.filled()
    assert application.run().status_code == 200
    return application


def test_a_run_is_logged_with_its_permits_result_and_details(logging_server: Server) -> None:
    before = get(logging_server, "/log")["size"]
    application = done(logging_server)
    new = entries_of(logging_server, before)
    assert [(e.kind, e.outcome) for e in new] == [("permit", "allowed")] * 3 + [("use", "done")]
    use = new[-1]
    permits = {digest for e in new[:3] for digest in e.digests["permit"]}
    assert set(use.digests["permit"]) == permits and len(permits) == 3
    assert use.digests["result"] and use.digests["program"] == new[0].digests["program"]
    assert len(use.pseudonyms["owner"]) == 3
    own = logging_server.http.get(
        f"/applications/{application.client_id}/log", headers=application.auth()
    ).json()["items"]
    assert [item["index"] for item in own] == list(range(before, before + 4))
    assert own[-1]["details"]["program"] == DECIDE
    assert own[0]["details"]["party"] in application.parties
    readable = json.dumps([e.to_json() for e in new])
    for name in (application.client_id, *application.parties, *application.sent.values()):
        assert name not in readable


def test_another_applications_entries_are_not_shown(logging_server: Server) -> None:
    mine, theirs = done(logging_server), logging_server.joined()
    path = f"/applications/{mine.client_id}/log"
    refused(logging_server.http.get(path, headers=theirs.auth()), 401, "not-authorised")
    refused(logging_server.http.get(path), 401, "not-authorised")
    public = get(logging_server, "/log/entries")["items"]
    assert {item["details"] for item in public} == {None}


def test_refused_permits_are_logged_up_to_a_limit(logging_server: Server) -> None:
    application = logging_server.filled()
    permits = application.permits()
    header, claims, signature = permits[0].split(".")
    forged = f"{header}.{claims}.{signature[::-1]}"
    before = get(logging_server, "/log")["size"]
    refused(application.give(forged), 403, "permit-invalid")
    refused(application.give(*application.permits(now=1.0)), 403, "permit-expired")
    new = entries_of(logging_server, before)
    assert [(e.kind, e.outcome) for e in new] == [("permit", "denied")] * 2
    for _ in range(70):
        application.give(forged)
    assert get(logging_server, "/log")["size"] == before + 64


def test_failed_and_cancelled_runs_are_logged(logging_server: Server) -> None:
    application = logging_server.filled(b"fault")
    before = get(logging_server, "/log")["size"]
    assert not application.run().is_success
    assert [(e.kind, e.outcome) for e in entries_of(logging_server, before)][-1] == (
        "use",
        "failed",
    )
    slow = logging_server.filled(b"sleep 15")
    slow.queue()
    slow.cancel()
    last = entries_of(logging_server, before)[-1]
    assert (last.kind, last.outcome) == ("use", "failed") and "result" not in last.digests


def test_proofs_lead_to_signed_checkpoints(logging_server: Server) -> None:
    done(logging_server)
    earlier = verified(logging_server)
    done(logging_server)
    later = verified(logging_server)
    assert later.size == earlier.size + 4
    hashes = get(logging_server, "/log/proofs/consistency", old=earlier.size, new=later.size)
    proof = [bytes.fromhex(each) for each in hashes["hashes"]]
    verify_consistency(earlier.size, later.size, proof, earlier.root, later.root)
    for index, entry in enumerate(entries_of(logging_server)[: later.size]):
        found = get(logging_server, "/log/proofs/inclusion", index=index, size=later.size)
        path = [bytes.fromhex(each) for each in found["hashes"]]
        verify_inclusion(entry.leaf, index, later.size, path, later.root)
    answer = logging_server.http.get(
        "/log/proofs/inclusion", params={"index": 0, "size": later.size + 1000}
    )
    refused(answer, 422, "proof-invalid")


def test_the_offline_verifier_accepts_cosigned_checkpoints(
    logging_server: Server, tmp_path: Path
) -> None:
    done(logging_server)
    facts = get(logging_server, "/log")
    state = CosignerState(facts["origin"])
    first, state = cosign(logging_server, state)
    (tmp_path / "earlier").write_text(note_of(logging_server, cosigned=True).text())
    done(logging_server)
    second, state = cosign(logging_server, state)
    kept = note_of(logging_server, cosigned=True)
    assert kept.body == second.body != first.body
    require_cosigners(kept, {"Auditor": AUDITOR})
    (tmp_path / "later").write_text(kept.text())
    sizes = {"old": Checkpoint.parse(first.body).size, "new": state.size}
    proof = logging_server.http.get("/log/proofs/consistency", params=sizes)
    (tmp_path / "proof").write_bytes(proof.content)
    trust = {
        "log": {"origin": facts["origin"], "key": facts["key"]},
        "cosigners": {"Auditor": AUDITOR.hex()},
        "owners": {},
        "witnesses": {},
    }
    (tmp_path / "trust").write_text(json.dumps(trust))
    words = ["--checkpoints", str(tmp_path / "earlier"), str(tmp_path / "later")]
    words += ["--trust", str(tmp_path / "trust")]
    assert verify.main([*words, "--proof", str(tmp_path / "proof")]) == 0
    assert verify.main(words) == 1, "growth has to be proved"


def test_only_configured_cosigners_are_accepted(logging_server: Server) -> None:
    note = note_of(logging_server)
    facts = get(logging_server, "/log")
    size = Checkpoint.parse(note.body).size
    proof = get(logging_server, "/log/proofs/consistency", old=0, new=size)["hashes"]
    own, foreign = WITNESS, Ed25519PrivateKey.generate()

    def line_by(key: Ed25519PrivateKey, name: str) -> str:
        return CosignerState(facts["origin"]).cosign(
            note,
            bytes.fromhex(facts["key"]),
            0,
            [bytes.fromhex(each) for each in proof],
            name=name,
            key=key,
            seconds=1,
        )[0]

    def sent(line: str, size: int = size) -> Any:
        return logging_server.http.post("/log/cosignatures", json={"size": size, "line": line})

    refused(sent(line_by(foreign, "Auditor")), 422, "proof-invalid")
    refused(sent(line_by(own, "Other")), 422, "proof-invalid")
    refused(sent("not a line"), 422, "proof-invalid")
    refused(sent(line_by(own, "Auditor"), size + 1000), 409, "out-of-step")
    refused(sent(line_by(own, "Auditor"), size - 1), 422, "proof-invalid")
    assert sent(line_by(own, "Auditor")).status_code == 204


def test_erasure_destroys_the_details_and_keeps_the_proofs(logging_server: Server) -> None:
    application = done(logging_server)
    index = get(logging_server, "/log")["size"] - 1
    (use,) = entries_of(logging_server, index)
    operator = bearer((logging_server.data / "operator_token").read_text())

    def lines() -> list[dict[str, Any]]:
        found = logging_server.http.get("/logs", headers=operator, params={"limit": 5})
        assert found.status_code == 200, found.text
        return list(found.json()["items"])

    assert lines()[0]["details"]["application"] == application.client_id
    assert application.erase().status_code == 204
    last, before, *_ = lines()
    assert (last["kind"], last["details"]) == ("erasure", None)
    assert (before["index"], before["erased"], before["details"]) == (index, True, None)
    later = verified(logging_server)
    found = get(logging_server, "/log/proofs/inclusion", index=index, size=later.size)
    path = [bytes.fromhex(each) for each in found["hashes"]]
    verify_inclusion(use.leaf, index, later.size, path, later.root)
    assert get(logging_server, "/integrity/verify")["healthy"] is True
    assert application.client_id not in json.dumps(lines())


def test_the_key_is_private_and_a_restart_keeps_the_log(start: Start) -> None:
    server = start(database_url=None).wait()
    done(server)
    before, facts = verified(server), get(server, "/log")
    assert (server.data / "log_key").stat().st_mode & 0o777 == 0o600
    server.stop()
    server = start(database_url=None).wait()
    assert get(server, "/log") == facts and verified(server) == before
    done(server)
    audit = get(server, "/integrity/verify")
    assert (audit["healthy"], audit["size"]) == (True, before.size + 4)
    server.stop()
    (server.data / "log_key").write_bytes(bytes(32))
    settings = settings_of(server.data)
    with (
        closing(Storage(settings)) as storage,
        pytest.raises(SettingsInvalid, match="TRISEAL_LOG_KEY"),
    ):
        Governance.open(storage, settings)


ALTERED = {
    "an entry's type": "UPDATE log_entries SET data = CAST(data AS TEXT) WHERE number = 2",
    "an entry": "UPDATE log_entries SET data = "
    "CAST(replace(CAST(data AS TEXT), 'allowed', 'reduced') AS BLOB) WHERE number = 2",
    "a removed entry": "DELETE FROM log_entries WHERE number = 2",
    "the last entry": "DELETE FROM log_entries WHERE number = 4",
    "a hash": "UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 1 AND number = 0",
    "details": "UPDATE log_details SET sealed = zeroblob(100) WHERE number = 2",
    "the columns for searches": "UPDATE log_entries SET outcome = 'denied' WHERE number = 2",
    "swapped entries": "UPDATE log_entries SET data = (SELECT data FROM log_entries o WHERE "
    "o.number = 3 - log_entries.number) WHERE number IN (1, 2)",
    "a checkpoint": "UPDATE log_checkpoints SET note = replace(note, char(10), char(10) || '1') "
    "WHERE size = (SELECT max(size) FROM log_checkpoints)",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the settings of a storage with a log of five entries."""
    settings = settings_of(tmp_path_factory.mktemp("tampered") / "data")
    with closing(Storage(settings)) as storage:
        Governance.open(storage, settings)
        played = Played(storage, settings)
        _, claim = played.running()
        assert played.claims.finish(claim, Evaluated(b"result", 1.0, 0.0))
        assert Audits(storage, settings).result().healthy
    return settings


@pytest.mark.parametrize("what", ALTERED)
def test_tampering_with_the_database_is_found(what: str, stored: Settings) -> None:
    database = stored.server_data / "applications.sqlite3"
    original = database.read_bytes()
    try:
        with closing(sqlite3.connect(database)) as connection:
            changed = connection.execute(ALTERED[what]).rowcount
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert changed > 0, "the attack does something"
        with closing(Storage(stored)) as storage:
            found = Audits(storage, stored).result()
        assert not found.healthy and found.fault
    finally:
        database.write_bytes(original)
    with closing(Storage(stored)) as storage:
        assert Audits(storage, stored).result().healthy, "the control"


def test_a_whole_earlier_database_is_found_by_a_running_server(stored: Settings) -> None:
    """The earlier state is consistent in itself; only who has seen the later one finds it."""
    with closing(Storage(stored)) as storage:
        audits = Audits(storage, stored, stale_seconds=0.0)
        assert audits.result().healthy
        with storage.write() as session:
            for table in ("log_entries", "log_details"):
                session.execute(text(f"DELETE FROM {table} WHERE number = 4"))  # noqa: S608
            session.execute(text("DELETE FROM log_nodes WHERE (number + 1) * (1 << level) > 4"))
            session.execute(text("DELETE FROM log_checkpoints WHERE size = 5"))
        assert not audits.result().healthy
        assert Audits(storage, stored).result().healthy, "the control: it remembers nothing"


def test_the_contract_names_every_kind_and_outcome_of_an_entry() -> None:
    """The contract cannot import them from governance."""
    assert (get_args(LogKind), get_args(LogStatus)) == (KINDS, OUTCOMES)
