"""`decide` and `explain` as requests: the owner's agent takes part in an encrypted application."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx

from model.explanation import Outcome
from parties.agent import Agent, ApplicationAgent
from parties.client import ServerClient
from parties.connection import Connection
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from parties.identity_file import make_identity
from parties.joint.codes import open_joint
from parties.store import PartyStore
from tests.parties.governance.owner_cases import SECRET
from tests.parties.running import LiveServer, Oracle, until
from tests.service.driver import bearer

CHECKING: dict[str, Any] = {"purpose": "dpv:CreditChecking", "reason": "For the loan."}


def play(application: ApplicationAgent, record: dict[str, Any], done: threading.Event) -> None:
    """Play another party: send its record and agree, as soon as that is possible."""
    member = application.member
    while not done.is_set():
        serial = application.serial
        if member.keys_ready and not member.has_sent:
            application.send(record)
        for program in ("decide", "explain"):
            ready = len(member.sent_by) == 3 and (program == "decide" or member.decision)
            if ready and member.party not in member.agreed_by(program):
                application.agree(program)
        application.wait(serial, 1)


def decided(owner: Owner) -> list[str]:
    """Return the results of applications that the owner's agent has noted, in words."""
    return [line.words for line in owner.activity() if line.words.startswith("Application ")]


def test_a_decision_and_its_explanation_are_requests_too(
    levelled_server: LiveServer, levelled_oracle: Oracle, tmp_path: Path
) -> None:
    oracle = levelled_oracle
    record = oracle.find(Outcome.TURNED)
    client = ServerClient(levelled_server.url, 30)
    operator = bearer((levelled_server.data / "operator_token").read_text())
    key = make_identity(tmp_path / "bank").public.hex()
    body = {"partner_id": "bank_1", "partner_type": "bank", "key": key}
    made = httpx.post(f"{client.url}/operator/partners", json=body, headers=operator)
    owner = Owner.start(tmp_path / "owner", client, "ada", SECRET)
    bank = Institution.start(tmp_path / "bank", client, "Bank of X", made.json()["token"])
    opening, done = open_joint(client), threading.Event()
    others, agents = [], []
    try:
        for party in oracle.schema.party_names[1:]:
            agents.append(Agent(Connection(client, PartyStore(tmp_path / party)), party))
            application = agents[-1].join(opening.codes[party], pinned=True)
            own = oracle.of(party, record)
            others.append(threading.Thread(target=play, args=(application, own, done)))
            others[-1].start()
        applicant = oracle.schema.party_names[0]
        text = json.dumps(oracle.of(applicant, record)).encode()
        data = owner.store_data(text, "application", "Mine", schema_name="credit_card_demo").id
        code = owner.host_session().code
        assert code is not None
        session = bank.connect_session(code).session_id
        for count, program in enumerate(("decide", "explain"), start=1):
            asked = bank.request(
                session, data, action=program, join_code=opening.codes[applicant], **CHECKING
            )
            assert asked.policy_allows, asked.policy_words
            owner.approve(asked.request.id)
            until(lambda: bank.request_view(asked.request.id).status == "active")  # noqa: B023
            result = bank.run(asked.request.id, wait=60)
            assert result == {"application": opening.client_id, "program": program}
            until(lambda: len(decided(owner)) == count, 100)  # noqa: B023
        # The bank reads the decision as a party; the owner's agent reads it for itself.
        own = agents[0].application(opening.client_id).member
        assert own.decision is not None and not own.decision.approved
        decision, explanation = decided(owner)
        assert oracle.schema.decision.denied in decision
        assert "5 years of employment" in explanation
    finally:
        done.set()
        for each in others:
            each.join(20)
        for agent in agents:
            agent.close()
        bank.close()
        owner.close()
