"""Engines with keys and further slots: data that are sent, shared, and never sent."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from contract.http import ApplicationState, Joined, Opened, ProgramState, Receipt
from engines.envelope import Header, seal, unseal
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    PROGRAMS,
    EngineFacts,
    KeyPair,
    PartyEngine,
    ProgramFacts,
    PublicModel,
    Slot,
)
from features.encoding import Layout
from parties.single_key.session import ApplicationSession
from parties.store import SECRET_KEY, PartyStore

SECRET = b"the secret key of all the parties"
HEADER = Header(engine="stub", model="m", kind="any")
FACTS = EngineFacts(
    name="stub",
    label="Stub",
    encrypted=True,
    joint_keys=False,
    secret_key="The first party makes it.",  # noqa: S106
    opened="The score.",
    explains_by="rerun",
)


class StubEngine(PartyEngine):
    """Obscures bits with the secret, just enough to show that the secret was used."""

    facts = FACTS

    def make_keys(self):
        return KeyPair(secret=SECRET, evaluation=seal(HEADER, secrets.token_bytes(2000)))

    def encrypt(self, party, bits, secret):
        if secret != SECRET:
            raise AssertionError("encrypted under another key")
        return seal(HEADER, bytes(bits ^ 170) + secrets.token_bytes(100))

    def encrypt_explanation(self, bits, secret):
        return seal(HEADER, b"bins" + bytes(bits ^ 170))

    def open(self, program, result, secret):
        if secret != SECRET:
            raise AssertionError("opened with another key")
        return tuple(json.loads(bytes(unseal(result)[1])))


class StubClient:
    """A server with its storage in a dict; `received` has every byte sent to it."""

    url, timeout = "http://stub", 30.0

    def __init__(self, parties, results):
        self.parties, self.results = parties, results
        self.slots, self.received = {}, []

    def open_application(self):
        client_id = secrets.token_hex(16)
        self.slots[client_id] = {}
        codes = {party: f"code of {party}" for party in self.parties}
        return Opened(client_id=client_id, expires_at="", join_codes=codes)

    def join(self, client_id, party, code, permit_key=None):
        return Joined(token=f"token of {party}")

    def send_file(self, client_id, party, file_name, message, token):
        assert token == f"token of {party}"
        self.received.append(message)
        self.slots[client_id][party, file_name] = message
        return Receipt(
            client_id=client_id,
            client_type=party,
            file_name=file_name,
            bytes=len(message),
            sha256=hashlib.sha256(message).hexdigest(),
        )

    def state(self, client_id, token):
        nothing = {"joined": (), "slots": (), "programs": {}, "missing": {}}
        times = {"created_at": "", "expires_at": ""}
        return ApplicationState(client_id=client_id, state="open", **times, **nothing)

    def queue(self, client_id, token, program):
        return ProgramState(status="done", seconds=0.5)

    def get_output(self, client_id, token, program):
        return seal(HEADER, json.dumps(self.results[program]).encode())

    def erase(self, client_id, token):
        del self.slots[client_id]


def public_model(schema, score_bits):
    first = schema.party_names[0]
    slots = [(first, EVALUATION_KEY, PROGRAMS)]
    slots += [(party, ENCRYPTED_INPUTS, PROGRAMS) for party in schema.party_names]
    slots += [(schema.explained_party, EXPLANATION_INPUTS, (EXPLAIN,))]
    facts = ProgramFacts(outputs=("score",), score_bits=score_bits, scale=20.0)
    return PublicModel(
        engine=FACTS,
        model_version="m",
        schema=schema,
        programs={DECIDE: facts, EXPLAIN: facts},
        slots=[
            Slot(party=party, file_name=name, needed_for=needed, maximum_bytes=10_000)
            for party, name, needed in slots
        ],
        client_sha256="",
        versions={},
    )


@pytest.fixture
def make_session(schema, tmp_path):
    def make(results, score_bits=8):
        client = StubClient(schema.party_names, results)
        connection = SimpleNamespace(
            client=client,
            store=PartyStore(tmp_path / "parties"),
            hours=24.0,
            witnesses=None,
            engine_lock=threading.Lock(),
            engine=StubEngine(),
            layout=Layout(schema),
            public=public_model(schema, score_bits),
        )
        return ApplicationSession.open(connection), client, connection.store

    return make


def send_all(session, schema):
    for party in schema.parties:
        session.send(party.name, {c.name: c.default for c in party.columns})


def test_the_secret_is_shared_among_the_parties_and_never_sent(make_session, schema):
    session, client, store = make_session({DECIDE: [-3], EXPLAIN: [-3, 4]})
    keys = session.make_keys()
    send_all(session, schema)
    session.run()
    session.open_decision()
    session.explain()
    session.send("bank", {"Account_age": 0})
    assert keys.holder == "applicant" and keys.shared_with == ("bank", "credit_agency")
    assert keys.evaluation_bytes == len(client.received[0])
    passed = [m.receiver for m in keys.messages if m.what == "secret key"]
    assert passed == ["bank", "credit_agency"]
    for party in schema.party_names:
        assert store.read(session.client_id, party, SECRET_KEY) == SECRET
    assert client.received and not any(SECRET in message for message in client.received)


def test_explained_party_sends_its_additional_slot(make_session, schema):
    session, client, _ = make_session({})
    session.make_keys()
    send_all(session, schema)
    names = [name for party, name in client.slots[session.client_id] if party == "credit_agency"]
    assert names == [ENCRYPTED_INPUTS, EXPLANATION_INPUTS]


def test_new_application_reuses_the_key_and_resends_other_messages(make_session, schema):
    session, client, _ = make_session({DECIDE: [5]})
    session.make_keys()
    send_all(session, schema)
    session.run()
    before = dict(client.slots[session.client_id])
    sent = session.send("bank", {"Account_age": 0})
    after = client.slots[session.client_id]
    changed = {slot for slot in after if after[slot] != before[slot]}
    assert changed == {("bank", ENCRYPTED_INPUTS)} and set(after) == set(before)
    assert list(client.slots) == [session.client_id]  # the old one is erased
    assert len(sent.messages) == len(after)


def test_sign_only_program_opens_only_the_decision(make_session, schema):
    session, _, _ = make_session({DECIDE: [-1]}, score_bits=1)
    session.make_keys()
    send_all(session, schema)
    session.run()
    decision = session.open_decision()
    assert (decision.approved, decision.score, decision.log_odds) == (False, None, None)


def test_score_of_zero_is_approved_and_numpy_values_are_accepted(make_session, schema):
    session, _, _ = make_session({DECIDE: [0]})
    session.make_keys()
    send_all(session, schema)
    session.send("bank", {"Account_age": np.int64(7)})
    session.run()
    decision = session.open_decision()
    assert decision.approved and decision.score == 0
    assert session.is_sent("bank", {"Account_age": 7})
