"""What the server's log has about a witnessed decision is enough for the offline verifier."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import verify
from engines.interface import DECIDE
from engines.statement import Statement, slot_name
from governance.canonical import canonical
from governance.log.checkpoint import Checkpoint, CosignerState
from governance.log.decision_file import DecisionFile, Trust
from governance.log.decision_file import verify as verify_file
from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import Grant as Allowance
from governance.requests import AccessRequest, Action, Requester, Uses
from service.applications.decision_files import DecisionFiles
from service.applications.witnesses import WitnessTasksService
from service.execution.interface import Evaluated
from service.governance.services import Governance
from service.storage.storage import Storage
from tests.service.played import PUBLIC, Played
from tests.service.storages import settings_of
from utils.errors import NotAuthorised, OutOfStep, ReceiptInvalid, UnknownName
from utils.tokens import new_id

NOW = time.time()
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AUDITOR = WITNESS.public_key().public_bytes_raw()
REQUESTER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
JOINT = PUBLIC.model_copy(update={"engine": PUBLIC.engine.model_copy(update={"joint_keys": True})})


def receipt_of(
    party: str,
    client_id: str,
    key: Ed25519PrivateKey,
    action: Action = "decide",
    status: str = "approved",
) -> Receipt:
    request = AccessRequest(
        id=new_id(),
        requester=Requester(name="Bank", key=REQUESTER.public_key().public_bytes_raw().hex()),
        owner=party,
        action=action,
        target=client_id,
        fields=("income",),
        purpose="dpv:CreditChecking",
        reason="To decide about a loan.",
        readers=("Bank",),
        created=int(NOW) - 60,
        not_after=int(NOW) + 86_400,
        uses=Uses(count=1),
        retention_days=30,
    )
    allowed = Allowed(
        request=request,
        grant=Allowance.whole(request),
        policy_version="1",
        principal="the applicant",
        controller="Bank",
        categories={"income": "income"},
        jurisdiction="loc:EU",
        events=[ReceiptEvent(status, int(NOW) - 30, party)],
    )
    return Receipt.issue(allowed, key, new_id(), int(NOW))


@pytest.fixture
def played(tmp_path: Path):
    settings = settings_of(tmp_path / "data", witnesses=f"Auditor={AUDITOR.hex()}")
    storage = Storage(settings)
    made = Played(storage, settings, public=JOINT)
    made.clock.now = NOW
    yield made
    storage.close()


@dataclass
class Finished:
    """A decision that was computed, witnessed and cosigned, and the keys that its reader trusts."""

    governance: Governance
    files: DecisionFiles
    client_id: str
    token: str
    trust: dict[str, Any]
    folder: Path

    def file(self) -> DecisionFile:
        return self.files.file(self.client_id, self.token, DECIDE, self.governance)

    def verdict(self, data: bytes) -> int:
        (self.folder / "file").write_bytes(data)
        (self.folder / "trust").write_text(json.dumps(self.trust))
        return verify.main([str(self.folder / "file"), "--trust", str(self.folder / "trust")])


@pytest.fixture
def finished(played, tmp_path) -> Finished:
    governance = Governance.open(played.storage, played.settings)
    files = DecisionFiles(played.storage, JOINT, played.settings, clock=played.clock)
    client_id = played.ready().client_id
    keys, token = played.keys[client_id], played.tokens[client_id]
    facts = governance.log.facts()
    trust = {
        "log": {"origin": facts.origin, "key": facts.key},
        "cosigners": {"Auditor": AUDITOR.hex()},
        "owners": {party: keys.public(party) for party in JOINT.schema_.party_names},
        "witnesses": {"Auditor": AUDITOR.hex()},
    }
    made = Finished(governance, files, client_id, token, trust, tmp_path)

    with pytest.raises(OutOfStep, match="not been computed"):
        made.file()
    parties = JOINT.schema_.party_names
    receipts = [receipt_of(party, client_id, keys.of(party)).document for party in parties]
    played.permits.give(client_id, token, played.permits_for(client_id), receipts)
    played.permits.give(client_id, token, played.permits_for(client_id))  # renewed, without them
    played.jobs.ask(client_id, token, DECIDE)
    claim = played.claims.claim()
    assert claim is not None and played.claims.finish(claim, Evaluated(b"sealed result", 1.0, 0.0))

    with pytest.raises(OutOfStep, match="Auditor has not signed"):
        made.file()
    witness = WitnessTasksService(played.storage, JOINT, played.settings, clock=played.clock)
    (task,) = witness.tasks(AUDITOR.hex()).items
    slots = played.applications.state(client_id).slots
    messages = {
        slot_name(slot.party, slot.file_name): slot.sha256
        for slot in slots
        if DECIDE in slot.needed_for
    }
    result = hashlib.sha256(b"sealed result").hexdigest()
    statement = Statement(client_id, DECIDE, JOINT.digest, messages, result)
    witness.state(AUDITOR.hex(), task.id, WITNESS.sign(statement.to_bytes()).hex(), None)

    with pytest.raises(OutOfStep, match="No cosigner"):
        made.file()
    cosign(governance)
    return made


def cosign(governance: Governance) -> None:
    facts, note = governance.log.facts(), governance.checkpoints.note(cosigned=False)
    size = Checkpoint.parse(note.body).size
    line, _ = CosignerState(facts.origin).cosign(
        note, bytes.fromhex(facts.key), 0, [], name="Auditor", key=WITNESS, seconds=int(NOW)
    )
    governance.checkpoints.add(size, line)


def test_a_decision_file_is_made_from_the_log_and_verifies(finished, capsys) -> None:
    file = finished.file()
    assert finished.verdict(file.to_bytes()) == 0, capsys.readouterr().out
    verify_file(DecisionFile.parse(file.to_bytes()), Trust.model_validate(finished.trust))
    assert file.entry["digests"].keys() >= {"request", "receipt", "permit", "result", "statement"}
    with pytest.raises(NotAuthorised):
        finished.files.file(finished.client_id, "x" * 43, DECIDE, finished.governance)
    with pytest.raises(UnknownName):
        finished.files.file(finished.client_id, finished.token, "decide_sign", finished.governance)


def test_a_decision_file_altered_anywhere_is_refused(finished, capsys) -> None:
    """Every string and number of the file matters."""
    whole = json.loads(finished.file().to_bytes())
    passed, altered = [], 0
    for place in places_of(whole):
        other = json.loads(json.dumps(whole))
        inside = other
        for name in place[:-1]:
            inside = inside[name]
        value = inside[place[-1]]
        inside[place[-1]] = value + 1 if isinstance(value, int) else _other_text(value)
        altered += 1
        if finished.verdict(canonical(other)) == 0:
            passed.append(place)
    assert altered > 100 and passed == []
    capsys.readouterr()


def places_of(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every string and number in a JSON value."""
    if isinstance(value, str | int):
        yield place
        return
    for name, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from places_of(each, (*place, name))


def _other_text(text: str) -> str:
    """Return a text of the same length and alphabet that differs in its middle."""
    middle = len(text) // 2
    other = "1" if text[middle : middle + 1] != "1" else "2"
    return text[:middle] + other + text[middle + 1 :]


def test_a_receipt_that_is_not_of_this_agreement_is_refused(played) -> None:
    client_id, other = played.ready().client_id, played.ready().client_id
    permits, token = played.permits_for(client_id), played.tokens[client_id]
    first, second, *_ = JOINT.schema_.party_names
    key = played.keys[client_id].of(first)
    own = dict(receipt_of(first, client_id, key).document)
    refused = {
        "another key": receipt_of(first, client_id, REQUESTER).document,
        "altered": {**own, "dct:issued": "later"},
        "of another application": receipt_of(first, other, key).document,
        "with the key of another application": receipt_of(
            first, other, played.keys[other].of(first)
        ).document,
        "for another party": receipt_of(second, client_id, key).document,
        "for another action": receipt_of(first, client_id, key, action="release").document,
        "of a refusal": receipt_of(first, client_id, key, status="denied").document,
        "without a form": {**own, "number": 0.5},
    }
    for document in refused.values():
        with pytest.raises(ReceiptInvalid):
            played.permits.give(client_id, token, permits, [document])
        assert played.applications.state(client_id).unpermitted[DECIDE] != ()  # all or none
    played.permits.give(client_id, token, permits, [own])
    assert played.applications.state(client_id).unpermitted[DECIDE] == ()


def test_without_the_receipt_of_every_party_there_is_no_file(played) -> None:
    governance = Governance.open(played.storage, played.settings)
    files = DecisionFiles(played.storage, JOINT, played.settings, clock=played.clock)
    _, claim = played.running()  # permits without receipts
    assert played.claims.finish(claim, Evaluated(b"sealed result", 1.0, 0.0))
    with pytest.raises(OutOfStep, match="gave no consent receipt"):
        files.file(claim.client_id, played.tokens[claim.client_id], DECIDE, governance)
