"""A server that gives a party unsafe parameters: it is refused before the party makes a key."""

import math

import pytest

from engines.levelled import bounds
from parties.agent import Agent
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint.codes import open_joint
from parties.joint.files import IDENTITY
from parties.store import SECRET_KEY, PartyStore
from tests.attacks.tampering import TamperingServer, untouched
from utils.errors import (
    ForeignMessage,
    MalformedMessage,
    ServerUnreachable,
    TrisealError,
    UnsafeParameters,
)

BEFORE_A_KEY = {("GET", "/model"), ("GET", "/model/client")}


def outputs(program, count):
    def tamper(model, client):
        model["programs"][program]["outputs"] = [str(i) for i in range(count)]

    return tamper


def budget(**changed):
    def tamper(model, client):
        client["budgets"]["decide"] |= changed

    return tamper


def whole_secret(model, client):
    """All 2,048 coefficients of the parties' secrets, without any noise."""
    outputs("decide", 2040)(model, client)
    budget(sigma_smudge=1e-300)(model, client)


def score_bits(model, client):
    for program in ("decide", "explain"):
        model["programs"][program]["score_bits"] = 13
        client["budgets"][program]["score_bits"] = 13


def one_program_more(model, client):
    model["programs"]["third"] = model["programs"]["decide"]
    client["budgets"]["third"] = client["budgets"]["decide"]


def set_in_client(**changed):
    return lambda model, client: client.update(changed)


TAMPERED = {
    "2,040 outputs and no smudge": (whole_secret, UnsafeParameters),
    "2,040 outputs": (outputs("decide", 2040), UnsafeParameters),
    "2 outputs of a decision": (outputs("decide", 2), UnsafeParameters),
    "no output": (outputs("decide", 0), UnsafeParameters),
    "a bin more": (outputs("explain", 7), UnsafeParameters),
    "a bin less": (outputs("explain", 5), UnsafeParameters),
    "smudge 1e-300": (budget(sigma_smudge=1e-300), UnsafeParameters),
    "smudge below the floor": (budget(sigma_smudge=2**-19.3), UnsafeParameters),
    "smudge 0": (budget(sigma_smudge=0.0), MalformedMessage),
    "smudge NaN": (budget(sigma_smudge=math.nan), MalformedMessage),
    "smudge infinite": (budget(sigma_smudge=math.inf), MalformedMessage),
    "flooding NaN": (budget(sigma_flood=math.nan), MalformedMessage),
    "smudge that spoils results": (budget(sigma_smudge=2**-16), UnsafeParameters),
    "flooding that spoils results": (budget(sigma_flood=2**-16), UnsafeParameters),
    "13 score bits": (score_bits, UnsafeParameters),
    "13 score bits in the client files": (budget(score_bits=13), UnsafeParameters),
    "other score bits than the model's": (budget(score_bits=9), ForeignMessage),
    "another profile": (set_in_client(profile="n1024-l2-b15"), UnsafeParameters),
    "other mask widths": (set_in_client(mask_bits=32), MalformedMessage),
    "a program more": (one_program_more, UnsafeParameters),
    "a budget more": (
        lambda model, client: client["budgets"].update(third=client["budgets"]["decide"]),
        UnsafeParameters,
    ),
    "no budget": (set_in_client(budgets={}), ForeignMessage),
    "an unknown field in the model": (
        lambda model, client: model.update(mask_bits=32),
        ServerUnreachable,
    ),
    "a scale of NaN": (
        lambda model, client: model["programs"]["decide"].update(scale=math.nan),
        ServerUnreachable,
    ),
}
"""Each kind of tampering, with the error that refuses it."""


@pytest.fixture(scope="module")
def tampering(levelled_server):
    with TamperingServer(levelled_server.url) as server:
        yield server


@pytest.fixture
def server(tampering):
    tampering.tamper, tampering.matching = untouched, True
    tampering.calls.clear()
    return tampering


def connect(server, folder):
    return Connection(ServerClient(server.url, 30), PartyStore(folder))


def files(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampered_model_is_refused_before_a_key_is_made(server, tmp_path, kind):
    server.tamper, error = TAMPERED[kind]
    with pytest.raises(TrisealError) as caught:
        connect(server, tmp_path)
    assert type(caught.value) is error
    assert files(tmp_path) == set()
    assert set(server.calls) <= BEFORE_A_KEY


def test_client_files_of_another_digest_are_refused(server, tmp_path):
    server.tamper, server.matching = budget(sigma_flood=2**-18.5), False
    with pytest.raises(ForeignMessage, match="client files"):
        connect(server, tmp_path)
    assert files(tmp_path) == set() and set(server.calls) <= BEFORE_A_KEY


def test_model_that_is_tampered_with_later_is_not_taken_when_a_party_joins(server, tmp_path):
    connection = connect(server, tmp_path)
    agent, shown = Agent(connection, "bank"), connection.public.fingerprint
    try:
        for tamper in (whole_secret, budget(sigma_flood=2**-18.5)):
            code = open_joint(connection.client).codes["bank"]
            server.tamper = tamper
            assert agent.join(code).member.model_fingerprint == shown
            server.tamper = untouched
    finally:
        agent.close()
        connection.client.close()


def test_control_an_agent_that_fetches_the_model_again_joins_with_another_than_it_shows(
    server, tmp_path
):
    connection = connect(server, tmp_path)
    code = open_joint(connection.client).codes["bank"]
    agent, shown = Agent(connection, "bank"), connection.public.fingerprint
    try:
        server.tamper = budget(sigma_flood=2**-18.5)  # within the bounds, but another model
        connection.refresh()
        assert agent.join(code).member.model_fingerprint != shown
    finally:
        agent.close()
        connection.client.close()


def test_honest_server_lets_no_party_join_with_another_model(levelled_server, tmp_path):
    """Such as the model that the server had before it was started again."""
    connection = connect(levelled_server, tmp_path)
    code, same = open_joint(connection.client).codes["bank"], connection.public
    agent = Agent(connection, "bank")
    try:
        connection.public = same.model_copy(update={"model_version": "an earlier one"})
        for _ in range(2):
            with pytest.raises(ForeignMessage, match="restart the program"):
                agent.join(code)
        assert not files(tmp_path) & {SECRET_KEY, IDENTITY}
        connection.public = same
        assert agent.join(code).member.is_reader  # the code was not used
    finally:
        agent.close()
        connection.client.close()


def test_control_without_bounds_the_same_model_is_accepted(server, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "check_bounds", lambda public, client: None)
    server.tamper = whole_secret
    assert len(connect(server, tmp_path).public.programs["decide"].outputs) == 2040
