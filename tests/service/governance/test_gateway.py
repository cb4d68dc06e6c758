"""The policy gateway of a real server: permits are allowed, denied, used once, taken back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.permits import signed_by, thumbprint
from tests.service.api.test_operator import command
from tests.service.driver import Server, bearer, refused
from utils.signed_requests import OWNER, authorization

OWNERS = {name: Ed25519PrivateKey.generate() for name in ("user_1", "user_2")}
PARTNER = Ed25519PrivateKey.generate()
CHECKING, FRAUD = "dpv:CreditChecking", "dpv:FraudPreventionAndDetection"


def hex_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


class Gateway:
    """A server with two owners' agents and partners, whose calls are made as they make them."""

    def __init__(self, server: Server) -> None:
        self.server, self.http = server, server.http
        self.operator = bearer((server.data / "operator_token").read_text())
        self.tokens = {
            name: self.register(name, kind)
            for name, kind in (("bank_1", "bank"), ("shop_1", "merchant"), ("bank_2", "bank"))
        }
        self._said = int(time.time() * 1000)

    def register(self, name: str, kind: str) -> str:
        body = {"partner_id": name, "partner_type": kind, "key": hex_of(PARTNER)}
        made = self.http.post("/operator/partners", json=body, headers=self.operator)
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def owner(self, user: str, method: str, path: str, body: Any = None) -> httpx.Response:
        content = b"" if body is None else json.dumps(body).encode()
        signed = authorization(OWNERS[user], method, path, content, time.time(), OWNER)
        headers = {"Authorization": signed, "Content-Type": "application/json"}
        return self.http.request(method, path, content=content, headers=headers)

    def say(
        self, state: str, user: str = "user_1", partner: str = "bank_1", purpose: str = CHECKING
    ) -> None:
        self._said += 1
        body = {"state": state, "purpose": purpose, "signed_at": self._said}
        said = self.owner(user, "PUT", f"/consents/{user}/{partner}", body)
        assert said.status_code == 204, said.text

    def ask(self, partner: str = "bank_1", token: str | None = None, **change: Any) -> Any:
        body = {"partner_id": partner, "user_id": "user_1", "purpose": CHECKING, **change}
        headers = bearer(self.tokens[partner] if token is None else token)
        return self.http.post("/authorize", json=body, headers=headers)

    def permit(self, **change: Any) -> str:
        answer = self.ask(**change)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def use(self, token: str, user: str = "user_1") -> httpx.Response:
        return self.owner(user, "POST", "/authorize/use", {"token": token})

    def logs(self, **filters: Any) -> list[dict[str, Any]]:
        found = self.http.get("/logs", params=filters, headers=self.operator)
        assert found.status_code == 200, found.text
        return list(found.json()["items"])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    owners = {
        user: {"key": hex_of(key), "host": "127.0.0.1", "port": 5001}
        for user, key in OWNERS.items()
    }
    data = tmp_path_factory.mktemp("gateway") / "data"
    server = Server(data, owners=json.dumps(owners)).wait()
    yield Gateway(server)
    server.stop()
    assert "Exception in ASGI application" not in server.log()


def denied(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 403, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == "urn:triseal:error:policy-denied"
    assert problem["reason"] and problem["policy_violation"]
    return problem


def test_a_permit_is_bound_to_partner_fields_and_masks(gateway: Gateway) -> None:
    gateway.say("granted")
    answer = gateway.ask(requested_data=["income", "name"], expires_in=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["exchange_host"], body["exchange_port"]) == ("127.0.0.1", 5001)
    assert body["data_segments"] == ["income", "name"]
    assert body["masking_applied"] == {"income": "band", "name": "token"}
    facts = gateway.http.get("/log").json()
    permit = signed_by(body["token"], bytes.fromhex(facts["permit_key"]))
    assert permit.exp - permit.iat == body["expires_in"] == 60
    assert (permit.aud, permit.action, permit.fields) == ("user_1", "release", ("income", "name"))
    assert json.loads(permit.masks["name"]) == {"kind": "token"}
    assert permit.cnf is not None
    assert permit.cnf.jkt == thumbprint(PARTNER.public_key().public_bytes_raw())
    (line,) = gateway.logs(partner_id="bank_1", user_id="user_1", kind="decision", limit=1)
    assert (line["status"], line["details"]["request_id"]) == ("allowed", body["request_id"])
    whole = gateway.ask().json()
    assert "email" not in whole["data_segments"] and "income" in whole["data_segments"]


def test_a_denial_names_the_rule_and_is_logged(gateway: Gateway) -> None:
    gateway.say("granted")
    problem = denied(gateway.ask(requested_data=["income", "email"]))
    assert "income" in problem["detail"], "what would be allowed"
    assert problem["policy_violation"] == "deny-by-default"
    assert denied(gateway.ask(purpose="dpv:Marketing"))["policy_violation"] == (
        "no-marketing-with-credit-data"
    )
    assert denied(gateway.ask("shop_1"))
    (line,) = gateway.logs(partner_id="shop_1", status="denied", limit=1)
    assert line["details"]["user_id"] == "user_1"


def test_consent_is_needed_for_this_partner_and_purpose(gateway: Gateway) -> None:
    gateway.say("granted")
    assert denied(gateway.ask(user_id="user_2"))["policy_violation"] == "consent-needed"
    assert denied(gateway.ask("bank_2"))["policy_violation"] == "consent-needed"
    assert denied(gateway.ask(purpose=FRAUD))["policy_violation"] == "consent-needed"
    gateway.say("revoked")
    assert denied(gateway.ask())["policy_violation"] == "consent-needed"
    refused(gateway.ask(user_id="nobody"), 403, "consent-missing")


def test_partners_are_recognised(gateway: Gateway) -> None:
    gateway.say("granted")
    assert gateway.ask().status_code == 200, "the control"
    refused(gateway.ask(token="w" * 43), 401, "not-authorised")
    refused(gateway.ask(token=gateway.tokens["shop_1"]), 403, "forbidden-scope")
    body = {"partner_id": "bank_1", "user_id": "user_1", "purpose": CHECKING}
    refused(gateway.http.post("/authorize", json=body), 401, "not-authorised")
    refused(gateway.ask(purpose="loans"), 422, "invalid-request")
    refused(gateway.ask(purpose="dpv:Loans"), 422, "invalid-request")
    refused(gateway.ask(expires_in=301), 422, "invalid-request")


def test_a_permit_is_used_once_by_its_owner_alone(gateway: Gateway) -> None:
    gateway.say("granted")
    token = gateway.permit()
    refused(gateway.use(token, "user_2"), 401, "not-authorised")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: gateway.use(token), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    refused(gateway.use(token), 409, "permit-spent")
    spent = next(answer.json() for answer in answers if answer.status_code == 200)
    assert spent["partner_id"] == "bank_1" and "income" in spent["fields"]
    (line,) = gateway.logs(user_id="user_1", kind="use", limit=1)
    assert (line["index"], line["status"]) == (spent["entry"], "done")


def test_late_forged_and_withdrawn_permits_are_refused(gateway: Gateway) -> None:
    gateway.say("granted")
    late, withdrawn = gateway.permit(expires_in=1), gateway.permit()
    header, claims, signature = withdrawn.split(".")
    refused(gateway.use(f"{header}.{claims}.{signature[::-1]}"), 403, "permit-invalid")
    gateway.say("revoked")
    refused(gateway.use(withdrawn), 403, "consent-missing")
    time.sleep(1.1)
    refused(gateway.use(late), 403, "permit-expired")


def test_a_captured_consent_cannot_be_repeated(gateway: Gateway) -> None:
    at = int(time.time() * 1000) + 10_000
    gateway._said = at + 1
    path = "/consents/user_1/bank_1"
    granted = {"state": "granted", "purpose": CHECKING, "signed_at": at}
    assert gateway.owner("user_1", "PUT", path, granted).status_code == 204
    assert gateway.owner("user_1", "PUT", path, granted).status_code == 204, "it may be repeated"
    gateway.say("revoked")
    refused(gateway.owner("user_1", "PUT", path, granted), 409, "out-of-step")
    assert denied(gateway.ask())["policy_violation"] == "consent-needed"
    refused(gateway.owner("user_2", "PUT", path, granted), 401, "not-authorised")
    refused(gateway.http.put(path, json=granted), 401, "not-authorised")


def test_uses_are_limited(gateway: Gateway) -> None:
    gateway.say("granted", partner="bank_2")
    used = len(gateway.logs(partner_id="bank_2", status="allowed", kind="decision", limit=500))
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: gateway.ask("bank_2", requested_data=["income"]), range(64 - used))
        )
    allowed = [answer for answer in answers if answer.status_code == 200]
    assert len(allowed) == 60 - used
    problem = denied(gateway.ask("bank_2", requested_data=["income"]))
    assert "an hour" in problem["detail"]


def test_the_policy_is_changed_by_the_operator_alone(gateway: Gateway) -> None:
    before = gateway.http.get("/policies").json()
    assert {"consent-needed", "bank-credit-record"} <= {rule["id"] for rule in before["rules"]}
    text = (
        '@id("no-release-today")\n@reason("Nothing is released today.")\n'
        'forbid (principal, action == Action::"release", resource);\n'
    )
    path, body = "/policies/90-today.cedar", {"text": text}
    refused(gateway.http.put(path, json=body), 401, "not-authorised")
    refused(
        gateway.http.put(path, json=body, headers=bearer(gateway.tokens["bank_1"])),
        401,
        "not-authorised",
    )
    wrong = gateway.http.put(path, json={"text": "permit (principal);"}, headers=gateway.operator)
    assert "line 1" in refused(wrong, 422, "policy-invalid")
    other = gateway.http.put("/policies/..%2fx.json", json=body, headers=gateway.operator)
    assert other.status_code in (404, 422)
    assert gateway.http.get("/policies").json() == before

    gateway.say("granted")
    assert gateway.ask().status_code == 200, "the control"
    changed = gateway.http.put(path, json=body, headers=gateway.operator)
    assert changed.status_code == 200, changed.text
    version = changed.json()["version"]
    assert version != before["version"] == gateway_version(gateway, -2)
    assert (
        gateway_version(gateway, -1) == version == gateway.http.get("/policies").json()["version"]
    )
    today = denied(gateway.ask(requested_data=["income"]))
    assert today["policy_violation"] == "no-release-today"
    removed = gateway.http.put(path, json={"text": None}, headers=gateway.operator)
    assert removed.json()["version"] == before["version"]
    assert gateway.ask().status_code == 200


def gateway_version(gateway: Gateway, number: int) -> str:
    """Return the version in the change of the policy with this number in the log."""
    changes = sorted(line["index"] for line in gateway.logs(kind="policy_change"))
    index = changes[number]
    (item,) = gateway.http.get("/log/entries", params={"start": index, "end": index + 1}).json()[
        "items"
    ]
    return str(item["entry"]["digests"]["policy"][0])


def test_the_log_is_searched_by_the_operator_alone(gateway: Gateway) -> None:
    refused(gateway.http.get("/logs"), 401, "not-authorised")
    gateway.say("granted")
    gateway.permit()
    newest, *others = gateway.logs(user_id="user_1", limit=2)
    assert gateway.logs(user_id="user_1", limit=1, offset=1) == others
    assert newest["partner_id"] == "bank_1"
    assert gateway.logs(start_date="2100-01-01T00:00:00Z") == []
    assert gateway.logs(end_date="2000-01-01") == []
    too_many = gateway.http.get("/logs", params={"limit": 501}, headers=gateway.operator)
    refused(too_many, 422, "invalid-request")


def test_an_erased_user_is_unreadable_in_a_log_that_still_proves_itself(gateway: Gateway) -> None:
    gateway.say("granted", user="user_2")
    gateway.permit(user_id="user_2")
    refused(gateway.owner("user_1", "DELETE", "/consents/user_2"), 401, "not-authorised")
    assert gateway.logs(user_id="user_2"), "the control"
    index = gateway.logs(user_id="user_2", kind="decision", limit=1)[0]["index"]
    assert gateway.owner("user_2", "DELETE", "/consents/user_2").status_code == 204
    assert gateway.logs(user_id="user_2") == []
    line = next(line for line in gateway.logs(limit=500) if line["index"] == index)
    assert (line["user_id"], line["details"], line["erased"]) == (None, None, True)
    assert denied(gateway.ask(user_id="user_2"))["policy_violation"] == "consent-needed"
    assert gateway.http.get("/integrity/verify").json()["healthy"] is True


def test_the_command_registers_lists_and_removes_partners(gateway: Gateway) -> None:
    added = command(gateway.server, "partner", "add", "agency_1", "credit_agency", "ab" * 32)
    token = added.stdout.split()[-1]
    assert added.returncode == 0 and "agency_1" in command(gateway.server, "partner", "list").stdout
    gateway.tokens["agency_1"] = token
    assert denied(gateway.ask("agency_1"))
    again = command(gateway.server, "partner", "add", "agency_1", "credit_agency", "ab" * 32)
    assert again.returncode == 1 and "registered already" in again.stderr
    assert command(gateway.server, "partner", "remove", "agency_1").returncode == 0
    refused(gateway.ask("agency_1"), 401, "not-authorised")
