"""Whole applications over HTTP with Concrete: the parties, bad messages, the example client."""

import json
import os
from pathlib import Path

import pytest

from engines.concrete.messages import PROFILE
from engines.envelope import Header, seal, unseal
from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY, slot_of
from model.explanation import Outcome
from tests.concrete.test_http_client_example import refuses, run
from tests.parties.running import Oracle, filled, started
from utils.errors import AlreadySent, ForeignMessage, MalformedMessage, UploadTooLarge

FOLDER = Path(__file__).resolve().parents[2] / "deployment_files"
BANK = ("bank", ENCRYPTED_INPUTS)
KEYS = ("applicant", EVALUATION_KEY)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = started(tmp_path_factory.mktemp("concrete"), FOLDER, "concrete")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def connection(server, tmp_path_factory):
    made = server.connect(tmp_path_factory.mktemp("parties"))
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def shipped():
    return Oracle(FOLDER)


@pytest.fixture(scope="module")
def denied(shipped):
    return shipped.find(Outcome.TURNED)


@pytest.fixture(scope="module")
def ready(connection, shipped, denied):
    """Return an application that is ready to run, to which tests send bad messages."""
    return filled(connection, shipped, denied)


@pytest.fixture(scope="module")
def good(ready):
    """Return the messages in the application's slots."""
    return {slot: ready.membership.read(*slot) for slot in (BANK, KEYS)}


def resealed(message, payload=None, **changed):
    header, own = unseal(message)
    return seal(header.model_copy(update=changed), bytes(own) if payload is None else payload)


def zeroed(message):
    return resealed(message, bytes(len(unseal(message)[1])))


def garbage(message):
    return resealed(message, os.urandom(len(unseal(message)[1])))


def garbage_parts(message):
    """Replace each part by random bytes of the same length, which only native code can detect."""
    payload, result = bytes(unseal(message)[1]), b""
    while payload:
        length = int.from_bytes(payload[:4], "little")
        result += payload[:4] + os.urandom(length)
        payload = payload[4 + length :]
    return resealed(message, result)


def half(message):
    payload = bytes(unseal(message)[1])
    return resealed(message, payload[: len(payload) // 2])


def scarred(message):
    """Overwrite the first kilobyte of the payload."""
    payload = bytes(unseal(message)[1])
    return resealed(message, os.urandom(1024) + payload[1024:])


def other_model(message):
    return resealed(message, model="0" * 32)


def other_engine(message):
    return resealed(message, engine="clear")


def other_party(message):
    return resealed(message, party="credit_agency")


def cut(message):
    return message[:-1]


BAD = [
    *((slot, make, MalformedMessage) for slot in (BANK, KEYS) for make in (zeroed, garbage, half)),
    (BANK, garbage_parts, MalformedMessage),
    (KEYS, scarred, MalformedMessage),
    (BANK, cut, MalformedMessage),
    *(
        (slot, make, ForeignMessage)
        for slot in (BANK, KEYS)
        for make in (other_model, other_engine, other_party)
    ),
]


@pytest.mark.parametrize(("slot", "make", "error"), BAD, ids=lambda v: getattr(v, "__name__", None))
def test_bad_message_is_refused_and_earlier_one_kept(connection, ready, good, slot, make, error):
    bad = make(good[slot])
    before = {(s.party, s.file_name): s.sha256 for s in ready.state().slots}
    with pytest.raises(error) as caught:
        connection.client.send_file(ready.client_id, *slot, bad, ready.membership.token(slot[0]))
    assert len(caught.value.message) > 20 and "Error" not in caught.value.message
    assert {(s.party, s.file_name): s.sha256 for s in ready.state().slots} == before
    assert ready.state().state == "ready"


def test_message_larger_than_slot_is_refused(connection, ready, shipped):
    maximum = slot_of(connection.public.slots, *BANK).maximum_bytes
    header = Header(
        engine="concrete",
        profile=PROFILE,
        model=connection.public.model_version,
        kind=ENCRYPTED_INPUTS,
        party="bank",
    )
    with pytest.raises(UploadTooLarge):
        connection.client.send_file(
            ready.client_id, *BANK, seal(header, bytes(maximum)), ready.membership.token("bank")
        )
    assert ready.state().state == "ready"


def test_application_succeeds_after_refused_messages(ready, shipped, denied):
    """The last test on this application: refused messages have changed nothing."""
    ready.run()
    decision = ready.open_decision()
    assert (decision.score, decision.approved) == (shipped.score(denied), False)
    assert ready.explain().explanation == shipped.explanation(denied)
    with pytest.raises(AlreadySent):
        message = ready.membership.read(*BANK)
        ready.membership.send_slot(*BANK, message, "too late")


def test_inputs_under_another_key_decrypt_to_noise(connection, good, shipped, denied):
    """Inputs under another key are well formed, so the server cannot tell; the score is noise."""
    first = filled(connection, shipped, denied)
    first.membership.send_slot(*BANK, good[BANK], "under another key")
    first.run()
    decision = first.open_decision()  # noise may fill the padding bit as well
    assert abs(decision.score) <= 2 * decision.reach
    assert first.state().state == "decided"


def test_example_client_gets_the_reference_score_with_form_defaults(server, shipped, tmp_path):
    own = {"Total_income": 90000, "Occupation_type": None, "Employed": False, "Years_employed": 0}
    score = shipped.score(shipped.default() | own)
    assert score < 0
    done = run(tmp_path, server.url, json.dumps(own))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"denied: score {score}, ")
    assert "s on the server" in done.stdout


def test_example_client_refuses_values_that_the_schema_does_not_have(server, tmp_path):
    assert "Total_income" in refuses(tmp_path, server.url, '{"Total": 90000}')
    assert "a tent" in refuses(tmp_path, server.url, '{"Housing_type": "a tent"}')


def test_example_client_prints_a_servers_error(server, tmp_path):
    """The address is wrong, and the problem's own detail is printed."""
    done = run(tmp_path, server.url + "/nowhere")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.strip()
