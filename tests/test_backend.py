"""The functions of the well-known demo, against a real server."""

from dataclasses import fields

import pytest

import backend
from model.explanation import Outcome
from settings import get_settings
from tests.parties.running import live_server, oracle  # noqa: F401 - fixtures
from utils.errors import InvalidRequest, OutOfStep, ServerUnreachable, ValueOutOfDomain
from utils.ports import free_port


@pytest.fixture
def at(monkeypatch, tmp_path):
    """Point the backend at a port, as the environment would."""

    def point(port):
        monkeypatch.setenv("TRISEAL_SERVER_PORT", str(port))
        monkeypatch.setenv("TRISEAL_PARTY_DATA", str(tmp_path / "parties"))
        monkeypatch.delenv("TRISEAL_SERVER_URL", raising=False)
        get_settings.cache_clear()
        backend.connection.cache_clear()

    yield point
    get_settings.cache_clear()
    backend.connection.cache_clear()


@pytest.fixture
def served(at, live_server):  # noqa: F811
    at(live_server.port)


def values(oracle, party, record):  # noqa: F811
    return list(oracle.of(party, record).values())


def send_all(oracle, client_id, record):  # noqa: F811
    applicant = backend.pre_process_encrypt_send_applicant(
        client_id, *values(oracle, "applicant", record)
    )
    bank = backend.pre_process_encrypt_send_bank(client_id, oracle.of("bank", record))
    agency = backend.pre_process_encrypt_send_credit_agency(
        client_id, *values(oracle, "credit_agency", record)
    )
    return applicant, bank, agency


@pytest.mark.parametrize("outcome", [Outcome.ALREADY_APPROVED, Outcome.TURNED, Outcome.NOT_TURNED])
def test_functions_of_the_known_demo_decide_and_explain(served, oracle, outcome):  # noqa: F811
    record = oracle.find(outcome)
    client_id = backend.keygen_send().client_id
    parties = [sent.party for sent in send_all(oracle, client_id, record)]
    assert parties == ["applicant", "bank", "credit_agency"]
    assert backend.run_fhe(client_id).seconds >= 0
    assert backend.get_output_and_decrypt(client_id).score == oracle.score(record)
    own = values(oracle, "credit_agency", record)
    explained = backend.explain_encrypt_run_decrypt(client_id, *own)
    assert explained.explanation == oracle.explanation(record)
    assert backend.state_reasons(client_id).values == tuple(oracle.points(record))
    backend.erase_application(client_id)
    backend.discard_application(client_id)  # a second time does no harm


def test_explanation_of_unsent_values_is_refused(served, oracle):  # noqa: F811
    record = oracle.find(Outcome.TURNED)
    client_id = backend.keygen_send().client_id
    send_all(oracle, client_id, record)
    backend.run_fhe(client_id)
    backend.get_output_and_decrypt(client_id)
    with pytest.raises(OutOfStep, match="Credit agency have changed"):
        backend.explain_encrypt_run_decrypt(client_id, True, 18.0)


@pytest.mark.parametrize(
    "step",
    [
        lambda i: backend.pre_process_encrypt_send_bank(i, 24),
        lambda i: backend.pre_process_encrypt_send(i, "bank", {"Account_age": 24}),
        lambda i: backend.run_fhe(i),
        lambda i: backend.get_output_and_decrypt(i),
        lambda i: backend.explain_encrypt_run_decrypt(i),
        lambda i: backend.erase_application(i),
    ],
)
def test_steps_without_an_application_advise_making_keys(served, step):
    for nothing in (None, ""):
        with pytest.raises(OutOfStep, match="make the keys first"):
            step(nothing)
    with pytest.raises(InvalidRequest):
        step("../../etc/passwd")


def test_number_of_values_must_match_the_columns(served):
    client_id = backend.keygen_send().client_id
    with pytest.raises(ValueOutOfDomain, match="has 2 columns, not 1: Employed, Years_employed"):
        backend.pre_process_encrypt_send_credit_agency(client_id, True)


def test_missing_server_is_reported_and_found_later(at, live_server):  # noqa: F811
    at(free_port())
    with pytest.raises(ServerUnreachable, match="make demo"):
        backend.keygen_send()
    at(live_server.port)
    assert backend.keygen_send().client_id


def test_step_results_hide_secrets_in_repr(served):
    keys = backend.keygen_send()
    names = {field.name for field in fields(keys)}
    assert "secret" not in names and "token" not in names
    assert not any(isinstance(getattr(keys, name), bytes) for name in names)
