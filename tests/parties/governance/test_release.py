"""Masked records, released once: by permits of the gateway, and of the owner for sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import Spent
from governance.masking import Clear, Redact
from governance.permits import Use, issue, signed_by
from governance.requests import Uses
from parties.governance import release
from parties.governance.exchange_seal import OpenCall, Released, begin_call, open_record
from parties.governance.owner import Owner
from parties.governance.release import ISSUER
from parties.joint.identities import IdentityKey
from tests.parties.governance.owner_cases import (
    RECORD,
    SECRET,
    USER,
    Caller,
    GovernedServer,
)
from tests.service.driver import bearer
from utils.errors import (
    ConsentMissing,
    InvalidRequest,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    TrisealError,
)

CHECKING = "dpv:CreditChecking"
FIELDS = ("birth_date", "income", "name")


@pytest.fixture(scope="module")
def owner(governed: GovernedServer) -> Iterator[Owner]:
    made = Owner.start(governed.home, governed.client, USER, SECRET)
    if not made.data_sets(tag="record"):  # another module may have stored it
        made.store_data(RECORD, "record", "Myself", schema_name="personal_record")
    made.consent("bank_1", CHECKING, True)
    yield made
    made.close()


def permit_of(governed: GovernedServer, *fields: str, partner: str = "bank_1") -> str:
    body: dict[str, Any] = {"partner_id": partner, "user_id": USER, "purpose": CHECKING}
    if fields:
        body["requested_data"] = list(fields)
    headers = bearer(governed.tokens[partner])
    answer = governed.server.http.post("/authorize", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def call_of(governed: GovernedServer, permit: str, key: IdentityKey | None = None) -> OpenCall:
    facts = governed.client.log_facts()
    jti = signed_by(permit, bytes.fromhex(facts.permit_key)).jti
    return begin_call(permit, jti, (key or governed.keys["bank_1"]).private)


def redeem(governed: GovernedServer, owner: Owner, permit: str) -> Released:
    call = call_of(governed, permit)
    return open_record(call, owner.redeem(call.to_bytes()), bytes.fromhex(owner.key))


def test_a_permit_of_the_gateway_releases_a_masked_record_once(
    governed: GovernedServer, owner: Owner
) -> None:
    permit = permit_of(governed, *FIELDS)
    found = redeem(governed, owner, permit)
    assert found.record["birth_date"] == "35–44"
    assert found.record["income"] == "40,000–59,999"
    assert str(found.record["name"]).startswith("token:")
    assert not any(str(value) in str(found) for value in json.loads(RECORD).values())
    (line,) = governed.logs(kind="use", user_id=USER, limit=1)
    assert line["index"] == found.entry
    with pytest.raises(PermitSpent):
        redeem(governed, owner, permit)
    again = redeem(governed, owner, permit_of(governed, "name"))
    assert again.record["name"] == found.record["name"], "the same partner knows the value again"
    assert "birth_date" in redeem(governed, owner, permit_of(governed)).record


def test_others_than_the_named_requester_and_server_get_nothing(
    governed: GovernedServer, owner: Owner
) -> None:
    permit = permit_of(governed, *FIELDS)
    stolen = call_of(governed, permit, governed.keys["bank_2"])
    with pytest.raises(PermitInvalid):
        owner.redeem(stolen.to_bytes())
    call = json.loads(call_of(governed, permit).to_bytes())
    call["ephemeral"] = json.loads(stolen.to_bytes())["ephemeral"]
    with pytest.raises(PermitInvalid):
        owner.redeem(json.dumps(call).encode())
    with pytest.raises(InvalidRequest):
        owner.redeem(b"{}")
    with pytest.raises(TrisealError):
        owner.redeem(b"x" * 100_000)
    assert redeem(governed, owner, permit).record, "the control: it was not spent"


def test_a_server_with_another_key_is_not_believed(governed: GovernedServer, owner: Owner) -> None:
    redeem(governed, owner, permit_of(governed, "name"))
    requester = governed.keys["bank_1"]
    use = Use(
        iss=ISSUER,
        sub="0" * 64,
        aud=USER,
        action="release",
        fields=("name",),
        masks={"name": '{"kind":"clear"}'},
        requester=requester.public,
    )
    now = owner._parts.clock()
    permit = issue(Ed25519PrivateKey.generate(), use, now, jti="1" * 32)
    call = begin_call(permit, "1" * 32, requester.private)
    with pytest.raises(PermitInvalid):
        owner.redeem(call.to_bytes())


def test_the_owners_policy_counts_beside_the_permits_masks(
    governed: GovernedServer, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's key signs a permit with all masks `clear`: the owner's masks still apply."""
    evil = Ed25519PrivateKey.generate()
    public = evil.public_key().public_bytes_raw()
    monkeypatch.setattr(release, "pinned_server_key", lambda *_: public)
    requester, spent = governed.keys["bank_1"], []

    class Server:
        def spend_permit(self, *_args: Any) -> Any:
            spent.append(True)
            return Spent(
                request_id="r", partner_id="bank_1", purpose=CHECKING, entry=1, fields=[], masks={}
            )

    monkeypatch.setattr(owner, "_client", Server())

    def released(*fields: str) -> Released:
        masks = dict.fromkeys(fields, '{"kind":"clear"}')
        use = Use(ISSUER, "0" * 64, USER, "release", None, None, fields, masks, requester.public)
        permit = issue(evil, use, owner._parts.clock(), jti="2" * 32)
        call = begin_call(permit, "2" * 32, requester.private)
        return open_record(call, owner.redeem(call.to_bytes()), bytes.fromhex(owner.key))

    found = released("name", "income").record
    assert str(found["name"]).startswith("token:") and found["income"] == "40,000–59,999"
    count = len(spent)
    with pytest.raises(PolicyDenied):
        released("name", "account_number")
    assert len(spent) == count, "no permit was spent without a release"
    clear = {"name": Clear()}
    monkeypatch.setattr(release, "_own_masks", lambda *_: clear)
    assert released("name").record == {"name": "Ada Lovelace"}, "the control"


def test_without_consent_nothing_is_released_even_with_a_permit(
    governed: GovernedServer, owner: Owner
) -> None:
    permit = permit_of(governed, *FIELDS)
    with pytest.raises(InvalidRequest):
        owner.consent("bank_1/../bank_2", CHECKING, True)
    owner.consent("bank_1", CHECKING, False)
    try:
        with pytest.raises((ConsentMissing, PolicyDenied)):
            redeem(governed, owner, permit)
    finally:
        owner.consent("bank_1", CHECKING, True)


def test_a_record_is_released_in_a_session_or_by_a_direct_exchange_once(
    governed: GovernedServer, owner: Owner
) -> None:
    bank = Caller(governed, owner)
    (data,) = owner.data_sets(tag="record")
    asked = bank.ask(data.id, action="release", computation=None, fields=FIELDS)
    assert asked.masks == {"birth_date": "band", "income": "band", "name": "token"}
    owner.approve(asked.request_id, fields=["income", "name"])
    outcome = bank.run(asked.request_id)
    assert outcome.result.keys() == {"income", "name"}
    assert outcome.result["income"] == "40,000–59,999"
    permit = bank.permit(asked.request_id)
    jti = signed_by(permit, bytes.fromhex(owner.key)).jti
    call = begin_call(permit, jti, bank.key.private)
    found = open_record(call, owner.redeem(call.to_bytes()), bytes.fromhex(owner.key))
    assert found.record == outcome.result, "the same tokens both ways"
    assert found.entry == owner.request(asked.request_id).uses[-1].entry
    for again in (lambda: owner.redeem(call.to_bytes()), lambda: bank.redeem(permit)):
        with pytest.raises(PermitSpent):
            again()


def test_masks_never_become_weaker_than_those_that_were_approved(
    governed: GovernedServer, owner: Owner
) -> None:
    """As when an update of the policy's files masks less than the person saw."""
    bank, book = Caller(governed, owner), owner._parts.book
    (data,) = owner.data_sets(tag="record")
    asked = bank.ask(data.id, action="release", computation=None, fields=FIELDS)
    owner.approve(asked.request_id, fields=["income", "name"])
    assert bank.run(asked.request_id).result["income"] == "40,000–59,999", "the control"
    stored = book.get(asked.request_id)
    book.put(stored.model_copy(update={"masks": {**stored.masks, "income": Redact()}}))
    for _ in range(2):
        assert bank.run(asked.request_id).result["income"] == "[redacted]"


def test_of_two_ways_at_once_one_gets_the_record(governed: GovernedServer, owner: Owner) -> None:
    bank = Caller(governed, owner)
    (data,) = owner.data_sets(tag="record")
    asked = bank.ask(data.id, action="release", computation=None, fields=FIELDS, uses=Uses(count=4))
    owner.approve(asked.request_id)
    for number in range(4):
        permit = bank.permit(asked.request_id)
        jti = signed_by(permit, bytes.fromhex(owner.key)).jti
        call = begin_call(permit, jti, bank.key.private).to_bytes()
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(owner.redeem, call), pool.submit(bank.redeem, permit)]
            failed = [each.exception() for each in both]
        assert [type(each) for each in failed if each] == [PermitSpent]
        assert len(owner.request(asked.request_id).uses) == number + 1
