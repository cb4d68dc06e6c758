"""A session against a real server over HTTP, with the engine that needs no key."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN
from model.explanation import Outcome
from model.reasons import principal_reasons
from parties.results import SERVER
from parties.single_key.session import ApplicationSession
from parties.store import SECRET_KEY
from tests.parties.running import until
from utils.errors import (
    AlreadyRunning,
    AlreadySent,
    ConsentMissing,
    ForbiddenSlot,
    OutOfStep,
    PartiesDisagree,
    RunCancelled,
    ServerUnreachable,
    UnknownApplication,
    UnknownColumn,
    UnknownParty,
    UploadTooLarge,
    ValueOutOfDomain,
)


@pytest.fixture
def session(connection):
    opened = ApplicationSession.open(connection)
    opened.make_keys()
    return opened


def send_all(session, oracle, record):
    return [session.send(party, oracle.of(party, record)) for party in oracle.schema.party_names]


@pytest.mark.parametrize(
    "outcome", [Outcome.ALREADY_APPROVED, Outcome.TURNED, Outcome.NOT_TURNED, Outcome.AT_MOST]
)
def test_a_complete_application_gives_the_programs_results(session, oracle, outcome):
    record = oracle.find(outcome)
    sent = send_all(session, oracle, record)
    run = session.run()
    decision = session.open_decision()
    stated, explained = session.reasons(), session.explain()
    assert decision.score == oracle.score(record)
    assert stated.values == tuple(oracle.points(record)) and stated.approved is decision.approved
    principal = principal_reasons(oracle.schema, stated.values)
    assert list(stated.reasons) == ([] if decision.approved else principal)
    assert decision.approved is (outcome is Outcome.ALREADY_APPROVED)
    assert explained.explanation == oracle.explanation(record)
    assert explained.explanation.outcome is outcome
    assert run.program == DECIDE and 0 <= run.seconds <= run.waited
    assert [s.bits for s in sent] == [
        len(oracle.layout.encode_party(p, oracle.of(p, record))) for p in oracle.schema.party_names
    ]
    assert session.state().state == "explained"


def test_a_step_reports_the_bytes_that_the_server_received(session, oracle):
    sent = send_all(session, oracle, oracle.default())
    slots = {slot.party: slot for slot in session.state().slots}
    for one in sent:
        (message,) = one.messages
        assert (one.size, one.sha256) == (slots[one.party].received_bytes, slots[one.party].sha256)
        assert (message.sender, message.receiver) == (one.party, SERVER)
        assert bytes.fromhex(one.preview)
        assert one.encrypt_seconds > 0 and one.send_seconds > 0


def test_progress_reports_do_not_change_the_result(session, oracle):
    send_all(session, oracle, oracle.default())
    shares = []
    first = session.run(progress=shares.append)
    again = session.run(progress=shares.append)
    assert again.seconds == first.seconds
    assert all(0 <= share <= 1 for share in shares)


def test_run_is_waited_for_across_a_server_crash(session, oracle, live_server):
    record = oracle.find(Outcome.TURNED)
    send_all(session, oracle, record)
    client, token = session.connection.client, session.membership.token()
    news = []
    with ThreadPoolExecutor(2) as pool:
        with live_server.stuck():
            first = pool.submit(session.run, news=news.append)
            until(lambda: session.state().programs[DECIDE].status == "running")
            second = pool.submit(client.run, session.client_id, token)  # joins the same run
            with pytest.raises(AlreadyRunning):
                session.send("bank", oracle.of("bank", record))
            live_server.kill()
        until(lambda: news[-1].status == "waiting")
        assert live_server.url in news[-1].text and "Trying again in" in news[-1].text
        live_server.start()
        seconds = {first.result(60).seconds, second.result(60)}
    assert len(seconds) == 1
    assert session.open_decision().score == oracle.score(record)
    traffic = [i.what for i in client.traffic(session.client_id, token).items]
    assert traffic.count("run decide") == traffic.count("ran decide") == 1


def test_a_cancelled_run_is_reported_and_can_be_repeated(session, oracle, live_server):
    send_all(session, oracle, oracle.default())
    news = []
    with ThreadPoolExecutor(1) as pool, live_server.stuck():
        run = pool.submit(session.run, news=news.append)
        until(lambda: session.state().programs[DECIDE].status == "running")
        session.cancel()
        with pytest.raises(RunCancelled, match="cancelled by a party"):
            run.result(30)
    assert session.state().programs[DECIDE].status == "cancelled"
    session.cancel()  # nothing is left to cancel, which is not an error
    session.run()
    assert session.open_decision().score == oracle.score(oracle.default())


def test_steps_out_of_order_name_missing_steps_before_any_request(connection, oracle):
    session = ApplicationSession.open(connection)
    connection.client.close()  # from here on a request would raise another error
    with pytest.raises(OutOfStep, match="make the keys first"):
        session.send("bank", oracle.of("bank", oracle.default()))
    with pytest.raises(OutOfStep, match=r"Applicant has to .*Bank has to .*Credit agency has to"):
        session.run()
    with pytest.raises(OutOfStep, match="no decision to open yet: the Applicant has to"):
        session.open_decision()
    with pytest.raises(OutOfStep, match="needs an opened decision"):
        session.explain()


def test_only_missing_steps_are_named(session, oracle):
    session.send("applicant", oracle.of("applicant", oracle.default()))
    session.send("credit_agency", oracle.of("credit_agency", oracle.default()))
    with pytest.raises(OutOfStep) as caught:
        session.run()
    assert "Bank" in caught.value.message and "Applicant" not in caught.value.message
    session.send("bank", oracle.of("bank", oracle.default()))
    with pytest.raises(OutOfStep, match="the server has to run it first"):
        session.open_decision()
    session.run()
    with pytest.raises(OutOfStep, match="open the decision"):
        session.explain()


def test_record_changed_after_the_decision_opens_a_new_application(session, oracle):
    record = oracle.find(Outcome.TURNED)
    before = session.client_id
    send_all(session, oracle, record)
    session.run()
    session.open_decision()
    explained = session.explain()
    years = oracle.schema.explained_column
    turned = record | {"Employed": True}
    turned[years.name] = years.bin_floor(explained.explanation.turning_bin)
    sent = session.send("credit_agency", oracle.of("credit_agency", turned))
    assert sent.fresh and sent.client_id == session.client_id != before
    again = [m.sender for m in sent.messages if m.what.endswith("sent again")]
    assert again == ["applicant", "bank"]
    with pytest.raises(OutOfStep):
        session.open_decision()  # the old decision does not count for the new application
    session.run()
    assert session.open_decision().score == oracle.score(turned) >= 0
    with pytest.raises(UnknownApplication):
        ApplicationSession.resume(session.connection, before)


def test_record_is_replaced_in_place_before_the_decision(session, oracle):
    record = oracle.find(Outcome.TURNED)
    send_all(session, oracle, oracle.default())
    before = session.client_id
    resent = send_all(session, oracle, record)
    assert session.client_id == before and not any(one.fresh for one in resent)
    session.run()
    assert session.open_decision().score == oracle.score(record)


def test_application_lost_by_the_server_is_opened_again(session, oracle):
    record = oracle.default()
    send_all(session, oracle, record)
    before = session.client_id
    session.connection.client.erase(before, session.membership.token())
    sent = session.send("bank", oracle.of("bank", record))
    assert sent.fresh and session.client_id != before
    session.run()
    assert session.open_decision().score == oracle.score(record)


def test_a_session_is_resumed_by_its_id(session, connection, oracle):
    record = oracle.find(Outcome.NOT_TURNED)
    send_all(session, oracle, record)
    session.run()
    resumed = ApplicationSession.resume(connection, session.client_id)
    assert resumed.plays == tuple(oracle.schema.party_names)
    assert resumed.open_decision().score == oracle.score(record)
    assert resumed.explain().explanation == oracle.explanation(record)


def test_party_permits_no_run_on_another_message_than_it_has_sent(session, oracle):
    send_all(session, oracle, oracle.default())
    other = oracle.default() | {"Account_age": 3}
    sealed = session.membership.read("bank", ENCRYPTED_INPUTS)
    session.send("bank", oracle.of("bank", other))
    session.membership.write("bank", ENCRYPTED_INPUTS, sealed)  # the server has the other one
    with pytest.raises(PartiesDisagree, match="bank has sent"):
        session.run()
    assert session.state().programs[DECIDE].status == "idle"


def test_three_processes_each_play_one_party(live_server, tmp_path, oracle):
    record = oracle.find(Outcome.TURNED)
    first, second, third = (live_server.connect(tmp_path / name) for name in "abc")
    applicant = ApplicationSession.open(first, ["applicant"])
    applicant.make_keys()
    codes = applicant.membership.unclaimed
    assert sorted(codes) == ["bank", "credit_agency"]
    bank = ApplicationSession.join(second, applicant.client_id, {"bank": codes["bank"]})
    agency = ApplicationSession.join(
        third, applicant.client_id, {"credit_agency": codes["credit_agency"]}
    )
    secret = applicant.membership.secret_key("applicant")
    for other in (bank, agency):  # brought to the other machines by a separate channel
        other.membership.write(other.plays[0], SECRET_KEY, secret)
    with pytest.raises(ForbiddenSlot):
        bank.make_keys()
    for one in (applicant, bank):
        one.send(one.plays[0], oracle.of(one.plays[0], record))
    with pytest.raises(OutOfStep, match="credit_agency"):
        bank.run()  # only the server knows the other parties' missing messages
    agency.send("credit_agency", oracle.of("credit_agency", record))
    with pytest.raises(ConsentMissing, match="no valid permit of applicant, credit_agency"):
        bank.run()  # the others have not permitted it
    for other in (applicant, agency):
        other.permit()
    bank.run()
    for other in (applicant, bank):
        other.permit(EXPLAIN)
    assert agency.open_decision().score == oracle.score(record)
    assert agency.explain().explanation == oracle.explanation(record)
    with pytest.raises(ForbiddenSlot):
        bank.explain()
    with pytest.raises(AlreadySent):  # this process cannot send the other parties' slices again
        bank.send("bank", oracle.of("bank", oracle.default()))
    for party, folder in (("applicant", "a"), ("bank", "b"), ("credit_agency", "c")):
        kept = {p.name for p in (tmp_path / folder / applicant.client_id).iterdir()}
        assert kept == {party}


@pytest.mark.parametrize(
    ("party", "change", "error"),
    [
        ("bank", {"Account_age": -1}, ValueOutOfDomain),
        ("bank", {"Account_age": None}, ValueOutOfDomain),
        ("bank", {"Years_employed": 3}, UnknownColumn),
        ("landlord", {}, UnknownParty),
    ],
)
def test_invalid_record_is_refused_and_nothing_is_sent(session, oracle, party, change, error):
    with pytest.raises(error):
        session.send(party, oracle.of("bank", oracle.default()) | change)
    assert all(slot.received_bytes is None for slot in session.state().slots)


def test_a_message_larger_than_its_slot_is_not_sent(session):
    with pytest.raises(UploadTooLarge):
        session.membership.send_slot("bank", "encrypted_inputs", b"x" * (1 << 20), "too much")
    assert all(slot.received_bytes is None for slot in session.state().slots)


def test_keys_are_made_once(session):
    with pytest.raises(AlreadySent, match="Start over"):
        session.make_keys()


def test_is_sent_compares_encoded_records(session, oracle):
    record = oracle.of("bank", oracle.default())
    assert not session.is_sent("bank", record)
    session.send("bank", record)
    assert session.is_sent("bank", record)
    assert session.is_sent("bank", {"Account_age": record["Account_age"] + 1})  # the same bin
    assert not session.is_sent("bank", {"Account_age": 0})


def test_erase_removes_the_data_of_parties_and_server(session, connection, oracle):
    send_all(session, oracle, oracle.default())
    token = session.membership.token()
    session.erase()
    assert not (connection.store.root / session.client_id).exists()
    with pytest.raises(UnknownApplication):
        connection.client.state(session.client_id, token)


def test_without_a_server_erase_fails_and_discard_succeeds(session, connection, monkeypatch):
    def refuse(*arguments):
        raise ServerUnreachable("The server cannot be reached.")

    monkeypatch.setattr(connection.client, "erase", refuse)
    with pytest.raises(ServerUnreachable):
        session.erase()
    assert connection.store.parties(session.client_id)
    session.membership.discard()
    assert not (connection.store.root / session.client_id).exists()


def test_failed_replacement_keeps_the_old_application(session, connection, oracle, monkeypatch):
    record = oracle.default()
    send_all(session, oracle, record)
    session.run()
    before, send_file = session.client_id, connection.client.send_file

    def fail_for_others(client_id, *rest):
        if client_id != before:
            raise ServerUnreachable("The server cannot be reached.")
        return send_file(client_id, *rest)

    monkeypatch.setattr(connection.client, "send_file", fail_for_others)
    with pytest.raises(ServerUnreachable):
        session.send("bank", oracle.of("bank", record))
    assert session.client_id == before
    assert [p.name for p in connection.store.root.glob("*/")] == [before]
    assert session.open_decision().score == oracle.score(record)


def test_wrong_receipt_is_detected(session, connection, oracle, monkeypatch):
    send_file = connection.client.send_file

    def damage(client_id, party, name, message, token):
        receipt = send_file(client_id, party, name, message, token)
        return receipt.model_copy(update={"sha256": "0" * 64})

    monkeypatch.setattr(connection.client, "send_file", damage)
    with pytest.raises(Exception, match="received different bytes"):
        session.send("bank", oracle.of("bank", oracle.default()))
    with pytest.raises(OutOfStep, match="Bank"):
        session.run()


def test_explanation_lists_its_request_and_its_result(session, oracle):
    send_all(session, oracle, oracle.default())
    session.run()
    session.open_decision()
    asked, fetched = session.explain().messages
    assert (asked.what, asked.receiver) == (f"run {EXPLAIN}", SERVER)
    assert fetched.sender == SERVER and fetched.size > 0
    record = json.loads(session.membership.read("credit_agency", "record.json"))
    assert record == oracle.of("credit_agency", oracle.default())
