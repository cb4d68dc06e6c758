"""The agents' HTTP interfaces: access, limits, the calls of Duo, and the calls beside them."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from parties.governance.api import owner_duo
from parties.governance.api.access import api_token
from parties.governance.api.app import Guarded
from parties.governance.api.apps import institution_app, owner_app
from parties.governance.api.duo_bodies import NO_ACCESS
from settings import Settings
from tests.parties.governance.api.stand_ins import KEY, InstitutionStandIn, Memory, OwnerStandIn
from utils.errors import NotAuthorised

URL = "http://127.0.0.1"
TOKEN = "t" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INCOMES = {"data": [100, 200, 600], "tag": "income", "description": "Monthly income"}


def client_of(make_app, agent, **settings):
    app = make_app(Guarded(agent, TOKEN, Settings(**settings)))
    return TestClient(app, base_url=URL, headers=BEARER, raise_server_exceptions=False)


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def owner(memory):
    return client_of(owner_app, OwnerStandIn(memory))


@pytest.fixture
def institution(memory):
    return client_of(institution_app, InstitutionStandIn(memory))


def code_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["type"].removeprefix("urn:triseal:error:")


@pytest.mark.parametrize("make_app", [owner_app, institution_app])
def test_no_call_works_without_the_token(make_app, memory):
    client = client_of(make_app, InstitutionStandIn(memory))
    calls = [
        (method, path.replace("{", "").replace("}", ""))
        for path, item in make_app().openapi()["paths"].items()
        for method in item
    ]
    assert len(calls) > 20
    for method, path in calls:
        for sent in ("", "Bearer ", f"Bearer {TOKEN[:-1]}u", f"Basic {TOKEN}", TOKEN):
            answer = client.request(method, path, headers={"Authorization": sent})
            assert (answer.status_code, code_of(answer)) == (401, "not-authorised"), (method, path)
    assert memory == Memory()


def test_token_is_made_once_and_is_private(tmp_path):
    home = tmp_path / "home"
    token = api_token(home)
    assert len(token) >= 43
    assert api_token(home) == token
    assert (home / "api_token").stat().st_mode & 0o777 == 0o600
    (home / "api_token").chmod(0o640)
    with pytest.raises(NotAuthorised, match="Other users"):
        api_token(home)


def test_foreign_hosts_and_pages_are_refused(owner):
    rebound = owner.get("/requests", headers={"Host": "evil.example:5001"})
    assert (rebound.status_code, code_of(rebound)) == (421, "unknown-host")
    for origin in ("http://evil.example", "http://127.0.0.1:8000", "null"):
        answer = owner.get("/requests", headers={"Origin": origin})
        assert (answer.status_code, code_of(answer)) == (403, "foreign-origin")
        assert "access-control-allow-origin" not in answer.headers
    assert owner.get("/requests", headers={"Origin": URL}).status_code == 200  # control


def test_bodies_and_calls_are_bounded(memory, owner):
    large = {**INCOMES, "data": [7] * 60_000}
    assert owner.post("/store_data", json=large).status_code == 200
    too_large = owner.post("/host_session", json={"title": "x" * 70_000})
    assert (too_large.status_code, code_of(too_large)) == (413, "upload-too-large")
    few = client_of(owner_app, OwnerStandIn(memory), token_calls=2)
    answers = [few.get("/requests") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_documentation_is_served_offline_and_without_secrets(owner):
    page = owner.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200 and "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    document = owner.get("/openapi.json", headers={"Authorization": ""})
    assert document.status_code == 200 and TOKEN not in document.text
    assert owner.get("/requests").headers["cache-control"] == "no-store"


def test_calls_of_duo_have_their_members_and_texts(owner, institution):
    """The story of that system, with the members and texts that its users know."""
    assert owner.post("/host_session").json()["status"] == "session hosted"
    hosted = owner.get("/host_session").json()
    assert hosted["status"] == "session hosted"
    connected = institution.post("/connect_session", json={"code": hosted["code"]}).json()
    assert connected["status"] == "session connected" and connected["owner_key"] == KEY
    again = institution.get("/connect_session", params={"code": hosted["code"]}).json()
    assert again["status"] == "session connected"

    stored = owner.post("/store_data", json=INCOMES).json()
    assert stored["status"] == "data storage complete"
    assert institution.get("/see_data_store").json()["unreachable"] == []
    for agent in (owner, institution):
        [line] = agent.get("/see_data_store").json()["data_store"]
        assert (line["index"], line["Description"], line["Filename"]) == (
            0,
            "Monthly income",
            "income",
        )
        assert line["id"] == stored["id"] and "100" not in str(line["columns"])

    asked = {"idx": 0, "computation": "average", "name": "Income", "reason": "a loan"}
    wanted = institution.post("/request_data", json=asked).json()
    assert wanted["computation_index"] == 0
    [line] = owner.get("/see_requests").json()["current_requests"]
    assert line["index"] == 0 and line["Reason"] == "Income: a loan"
    assert line["Requested Access"] == "Bank 1 asks for the mean of value"

    early = institution.post("/run_computation", json={"idx": 0})
    assert early.status_code == 403 and code_of(early) == "consent-missing"
    assert early.json()["result"] == NO_ACCESS == "No Access to Run Computation"

    decided = owner.post("/request_decision", json={"idx": 0, "decision": "approve"}).json()
    assert (decided["index"], decided["Decision"]) == (0, "approve")
    assert decided["Reason"] == "Income: a loan"
    assert owner.get("/see_requests").json() == {"current_requests": []}
    for agent in (owner, institution):
        [log] = agent.get("/request_logs").json()["logs"]
        assert (log["Request Reason"], log["Decision"]) == ("Income: a loan", "approve")
        assert log["Decision Timestamp"] == "2023-11-14T22:13:20+00:00"

    ran = institution.post("/run_computation", json={"idx": wanted["request_id"]}).json()
    assert ran["result"] == "300.0" and ran["outcome"]["value"] == 300.0

    assert institution.post("/request_data", json=asked).json()["computation_index"] == 1
    denied = owner.post(
        "/request_decision", json={"idx": 1, "decision": "deny", "reason": "not again"}
    ).json()
    assert (denied["index"], denied["Decision"], denied["status"]) == (1, "deny", "denied")
    refused = institution.post("/run_computation", json={"idx": 1})
    assert (refused.status_code, refused.json()["result"]) == (403, NO_ACCESS)
    assert [log["Decision"] for log in owner.get("/request_logs").json()["logs"]] == [
        "approve",
        "deny",
    ]


def test_index_stands_for_what_was_seen(owner, institution, memory):
    """Another data set, or an owner that is away, does not change what a request is about."""
    for code in ("a", "b"):
        owner.post("/host_session")
        institution.post("/connect_session", json={"code": code})
    owner.post("/store_data", json=INCOMES)
    [first, second] = institution.get("/see_data_store").json()["data_store"]
    assert (first["index"], second["index"]) == (0, 1) and first["id"] == second["id"]
    owner.post("/store_data", json={**INCOMES, "description": "Another"})
    memory.data.reverse()
    memory.away.add(first["session_id"])
    asked = {"idx": 1, "computation": "mean", "reason": "r"}
    assert institution.post("/request_data", json=asked).status_code == 200
    made = memory.requests[-1]
    assert (made.request.target, made.session_id) == (second["id"], second["session_id"])

    seen = institution.get("/see_data_store").json()
    assert seen["unreachable"] == [first["session_id"]]
    assert {line["session_id"] for line in seen["data_store"]} == {second["session_id"]}
    by_id = {**asked, "idx": second["id"], "session_id": first["session_id"]}
    assert code_of(institution.post("/request_data", json=by_id)) == "unknown-name"


def test_no_request_is_decided_by_an_index_that_another_may_have_taken(
    owner, institution, memory, monkeypatch
):
    """In a full book, each new request moves the indexes of those after the one that it drops."""
    monkeypatch.setattr(owner_duo, "MOST_REQUESTS", 2)
    owner.post("/host_session")
    institution.post("/connect_session", json={"code": "c"})
    owner.post("/store_data", json=INCOMES)
    institution.get("/see_data_store")
    for reason in ("harmless", "seen", "not seen"):
        asked = {"idx": 0, "computation": "mean", "reason": reason}
        assert institution.post("/request_data", json=asked).status_code == 200
    seen = owner.get("/see_requests").json()["current_requests"][1]
    del memory.requests[0]  # as the book makes room
    by_index = owner.post("/request_decision", json={"idx": seen["index"], "decision": "approve"})
    assert code_of(by_index) == "invalid-request"
    assert {each.status for each in memory.requests} == {"pending"}
    by_id = {"idx": seen["request_id"], "decision": "approve"}
    assert owner.post("/request_decision", json=by_id).json()["Reason"] == "seen"


def test_approval_of_less_and_its_end(owner, institution, memory):
    owner.post("/host_session")
    institution.post("/connect_session", json={"code": "c"})
    session = memory.sessions[0].session_id
    table = {"data": "a,b\n1,2\n3,4\n5,6\n", "tag": "t", "description": "", "categories": {}}
    stored = owner.post("/data_sets", json=table).json()
    asked = {
        "session_id": session,
        "data_set": stored["id"],
        "action": "release",
        "purpose": "dpv:CreditChecking",
        "reason": "r",
        "fields": ["a", "b"],
        "uses": {"count": 3},
    }
    view = institution.post("/requests", json=asked)
    assert view.status_code == 201
    path = f"/requests/{view.json()['request']['id']}"
    less = {"fields": ["a"], "uses": {"count": 1}}
    approved = owner.post(f"{path}/approve", json=less).json()
    assert approved["grant"]["fields"] == ["a"] and approved["uses_left"] == 1
    again = owner.post(f"{path}/approve", json={})
    assert (again.status_code, code_of(again)) == (409, "request-closed")
    assert owner.post(f"{path}/pause").json()["status"] == "paused"
    assert owner.post(f"{path}/resume").json()["status"] == "active"
    assert owner.post(f"{path}/revoke", json={"reason": "moved"}).json()["status"] == "revoked"
    receipt = institution.get(f"{path}/receipt")
    assert receipt.headers["content-type"] == "application/ld+json"
    assert owner.delete(f"/data_sets/{stored['id']}").status_code == 204
    assert owner.get("/data_sets").json() == {"items": []}
    assert owner.get("/changes", params={"serial": 4}).json() == {"serial": 5}


def test_a_named_computation_is_completed(owner, institution, memory):
    owner.post("/host_session")
    institution.post("/connect_session", json={"code": "c"})
    table = {"data": "a,b,c\n1,2,x\n3,4,x\n5,6,y\n", "tag": "t", "description": ""}
    owner.post("/store_data", json=table)
    more = {"column": "a", "filters": [{"column": "c", "op": "==", "value": "x"}]}
    asked = {"idx": 0, "computation": "median", "reason": "r", **more}
    assert institution.post("/request_data", json=asked).status_code == 200
    request = memory.requests[-1].request
    assert request.computation == {"kind": "median", **more}
    two = institution.post("/request_data", json={"idx": 0, "computation": "max", "reason": "r"})
    assert (two.status_code, code_of(two)) == (422, "computation-invalid")
    assert "column" in two.json()["detail"]


def test_consent_to_a_partner_reaches_the_owner(owner, memory):
    body = {"purpose": "dpv:CreditChecking", "state": "granted"}
    assert owner.put("/consents/bank-1", json=body).status_code == 204
    assert owner.put("/consents/bank-1", json={**body, "state": "revoked"}).status_code == 204
    assert memory.consents == [
        ("bank-1", "dpv:CreditChecking", True),
        ("bank-1", "dpv:CreditChecking", False),
    ]
    assert owner.get("/key").json() == {"name": "Ann", "key": KEY}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/request_decision", {"idx": 5, "decision": "approve"}, "unknown-name"),
        ("/request_decision", {"idx": -1, "decision": "approve"}, "invalid-request"),
        ("/request_decision", {"idx": True, "decision": "approve"}, "invalid-request"),
        ("/request_decision", {"idx": "0", "decision": "approve"}, "invalid-request"),
        ("/request_decision", {"idx": 0, "decision": "perhaps"}, "invalid-request"),
        ("/store_data", {**INCOMES, "data": 5}, "data-set-invalid"),
        ("/store_data", {**INCOMES, "data": [1, [2]]}, "data-set-invalid"),
        ("/store_data", {**INCOMES, "tag": "../x"}, "invalid-request"),
        ("/store_data", {**INCOMES, "categories": {"value": "nothing"}}, "data-set-invalid"),
        ("/host_session", {"hours": 1e9}, "invalid-request"),
        ("/host_session", {"more": 1}, "invalid-request"),
    ],
)
def test_bad_input_is_a_problem_that_names_the_member(owner, path, body, code):
    answer = owner.post(path, json=body)
    assert (400 <= answer.status_code < 500, code_of(answer)) == (True, code)


def test_no_value_of_the_data_is_in_an_error(owner):
    name = "Anna Smith-Jones 4711"
    for data in ([{"a": name, "b": 1}, {"a": name, "b": {"c": name}}], f'a,b\n"{name}'):
        answer = owner.post("/store_data", json={**INCOMES, "data": data})
        assert answer.status_code == 422 and name not in answer.text
