"""What the server's log has about a witnessed decision is enough for the offline verifier."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import verify
from engines.interface import DECIDE
from engines.statement import Statement
from governance.log.checkpoint import Checkpoint, CosignerState
from governance.log.decision_file import DecisionFile, Grant, Inclusion, SignedStatement
from governance.permits import key_named_in
from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import Grant as Allowance
from governance.requests import AccessRequest, Requester, Uses
from service.applications.witnesses import WitnessTasksService
from service.governance.log import application_of
from service.governance.services import Governance
from service.storage.storage import Storage
from tests.service.played import PUBLIC, Played
from tests.service.storages import settings_of
from utils.errors import ReceiptInvalid
from utils.tokens import new_id

NOW = time.time()
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AUDITOR = WITNESS.public_key().public_bytes_raw()
REQUESTER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
JOINT = PUBLIC.model_copy(update={"engine": PUBLIC.engine.model_copy(update={"joint_keys": True})})


def receipt_of(party: str, client_id: str, key: Ed25519PrivateKey) -> Receipt:
    request = AccessRequest(
        id=new_id(),
        requester=Requester(name="Bank", key=REQUESTER.public_key().public_bytes_raw().hex()),
        owner=party,
        action="decide",
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
        events=[ReceiptEvent("approved", int(NOW) - 30, party)],
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


def test_a_decision_file_is_made_from_the_log_and_verifies(played, tmp_path, capsys) -> None:
    governance = Governance.open(played.storage, played.settings)
    client_id = played.ready().client_id
    keys = played.keys[client_id]
    permits = played.permits_for(client_id)
    receipts = {
        party: receipt_of(party, client_id, keys.of(party)).document
        for party in JOINT.schema_.party_names
    }
    token = played.tokens[client_id]
    played.permits.give(client_id, token, permits, list(receipts.values()))
    played.jobs.ask(client_id, token, DECIDE)
    claim = played.claims.claim()
    assert claim is not None and played.claims.finish(claim, 1.0, b"sealed result")

    witness = WitnessTasksService(played.storage, JOINT, played.settings, clock=played.clock)
    (task,) = witness.tasks(AUDITOR.hex()).items
    state = played.applications.state(client_id)
    messages = {
        f"{slot.party}/{slot.file_name}": slot.sha256
        for slot in state.slots
        if DECIDE in slot.needed_for
    }
    own = governance.log.of_person(application_of(client_id)).items
    use = next(item for item in own if item.entry["kind"] == "use")
    (result,) = use.entry["digests"]["result"]
    statement = Statement(client_id, DECIDE, JOINT.digest, messages, result)
    signature = WITNESS.sign(statement.to_bytes())
    witness.state(AUDITOR.hex(), task.id, signature.hex(), None)

    facts, note = governance.log.facts(), governance.checkpoints.note(cosigned=False)
    size = Checkpoint.parse(note.body).size
    line, _ = CosignerState(facts.origin).cosign(
        note, bytes.fromhex(facts.key), 0, [], name="Auditor", key=WITNESS, seconds=int(NOW)
    )
    governance.checkpoints.add(size, line)
    proof = governance.log.inclusion(use.index, size)
    by_key = {receipt["proof"]["key"]: receipt for receipt in receipts.values()}
    file = DecisionFile(
        grants=tuple(
            Grant(receipt=by_key[key_named_in(permit)], permit=permit) for permit in permits
        ),
        program=JOINT.digest,
        statement=SignedStatement.of(statement, {AUDITOR: signature}),
        entry=use.entry,
        inclusion=Inclusion(index=proof.index, hashes=tuple(proof.hashes)),
        checkpoint=governance.checkpoints.note(cosigned=True).text(),
    )
    trust = {
        "log": {"origin": facts.origin, "key": facts.key},
        "cosigners": {"Auditor": AUDITOR.hex()},
        "owners": {party: keys.public(party) for party in JOINT.schema_.party_names},
        "witnesses": {"Auditor": AUDITOR.hex()},
    }
    (tmp_path / "trust").write_text(json.dumps(trust))

    def verdict(data: bytes) -> int:
        (tmp_path / "file").write_bytes(data)
        return verify.main([str(tmp_path / "file"), "--trust", str(tmp_path / "trust")])

    assert verdict(file.to_bytes()) == 0, capsys.readouterr().out
    other = file.model_copy(update={"entry": {**use.entry, "outcome": "failed"}})
    assert verdict(other.to_bytes()) == 1
    assert verdict(file.to_bytes().replace(result.encode(), b"0" * 64)) == 1


def test_a_receipt_of_another_key_is_refused_with_its_permits(played) -> None:
    client_id = played.ready().client_id
    permits, token = played.permits_for(client_id), played.tokens[client_id]
    party = JOINT.schema_.party_names[0]
    foreign = receipt_of(party, client_id, REQUESTER).document
    with pytest.raises(ReceiptInvalid):
        played.permits.give(client_id, token, permits, [foreign])
    own = dict(receipt_of(party, client_id, played.keys[client_id].of(party)).document)
    with pytest.raises(ReceiptInvalid):
        played.permits.give(client_id, token, permits, [{**own, "dct:issued": "later"}])
    assert played.applications.state(client_id).unpermitted[DECIDE] != ()
    played.permits.give(client_id, token, permits, [own])
    assert played.applications.state(client_id).unpermitted[DECIDE] == ()
