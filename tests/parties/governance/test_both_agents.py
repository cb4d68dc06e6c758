"""An owner that goes away in the middle, and the direct exchange, between two real agents."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from governance.requests import Uses
from parties.governance.exchange_seal import LARGEST_CALL
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from tests.parties.governance.owner_cases import (
    MEAN,
    RECORD,
    SECRET,
    USER,
    GovernedServer,
    store_salaries,
)
from tests.parties.running import until
from tests.service.driver import bearer
from utils.errors import (
    AgentUnreachable,
    InvalidRequest,
    MalformedMessage,
    NotAuthentic,
    PermitSpent,
    TrisealError,
)

CHECKING: dict[str, Any] = {"purpose": "dpv:CreditChecking", "reason": "For the loan."}
HOST = "127.0.0.1"


class Agents:
    """The owner whom the server's gateway knows, and a bank in a session with it."""

    def __init__(self, governed: GovernedServer, home: Path) -> None:
        self.governed, self.home = governed, home
        self.token = governed.register(home)
        self.owner = self.start_owner()
        self.bank = self.start_bank()
        hosted = self.owner.host_session()
        assert hosted.code is not None
        self.session = self.bank.connect_session(hosted.code).session_id
        self.salaries = store_salaries(self.owner)
        found = self.owner.data_sets(tag="record") or (
            self.owner.store_data(RECORD, "record", "Myself", schema_name="personal_record"),
        )
        self.record = found[0].id

    def start_owner(self) -> Owner:
        self.owner = Owner.start(self.governed.home, self.governed.client, USER, SECRET)
        return self.owner

    def start_bank(self) -> Institution:
        self.bank = Institution.start(self.home, self.governed.client, "Bank of X", self.token)
        return self.bank

    def approved(self, data_set: str, **members: Any) -> str:
        asked = self.bank.request(self.session, data_set, **members, **CHECKING).request
        self.owner.approve(asked.id)
        until(lambda: self.bank.request_view(asked.id).status == "active")
        return asked.id

    def gateway_permit(self) -> str:
        """Return a permit of `POST /authorize`, which the server signs."""
        facts = self.governed.client.session(self.session, self.owner_token())
        assert facts.partner_id is not None
        self.owner.consent(facts.partner_id, "dpv:CreditChecking", True)
        body = {
            "partner_id": facts.partner_id,
            "user_id": USER,
            "purpose": "dpv:CreditChecking",
            "requested_data": ["income"],
        }
        made = self.governed.server.http.post("/authorize", json=body, headers=bearer(self.token))
        assert made.status_code == 200, made.text
        return str(made.json()["token"])

    def owner_token(self) -> str:
        return self.owner._token(self.session)

    def close(self) -> None:
        self.bank.close()
        self.owner.close()


@pytest.fixture(scope="module")
def agents(governed: GovernedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    made = Agents(governed, tmp_path_factory.mktemp("bank") / "home")
    yield made
    made.close()


@contextmanager
def exchange(respond: Callable[[bytes], bytes]) -> Iterator[int]:
    """Serve `POST /exchange` at a port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), LARGEST_CALL))
            try:
                status, found = 200, respond(body)
            except TrisealError as error:
                problem = {"type": f"urn:triseal:error:{error.code}", "detail": error.message}
                status, found = 409, json.dumps(problem).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_an_owner_that_goes_away_costs_no_use_and_goes_on_after_its_restart(
    agents: Agents,
) -> None:
    request_id = agents.approved(
        agents.salaries, action="statistic", computation=MEAN, uses=Uses(count=1)
    )
    agents.owner.close()
    with pytest.raises(AgentUnreachable):
        agents.bank.run(request_id, wait=0.3)
    agents.bank.close()
    agents.start_bank()
    agents.start_owner()
    assert agents.bank.run(request_id)["value"] == 1065
    until(lambda: agents.bank.request_view(request_id).status == "used up")
    for view in (agents.bank.request_view(request_id), agents.owner.request(request_id)):
        assert len(view.uses) == 1
    with pytest.raises(TrisealError):
        agents.bank.run(request_id)


def test_a_permit_of_a_session_is_redeemed_directly_once(agents: Agents) -> None:
    request_id = agents.approved(
        agents.record, action="release", fields=("birth_date", "income"), uses=Uses(count=2)
    )
    token = agents.bank.take_permit(request_id)
    with exchange(agents.owner.redeem) as port:
        found = agents.bank.receive_record(HOST, port, token)
        assert found["income"] == "40,000–59,999" and "1990" not in str(found)
        with pytest.raises(PermitSpent):
            agents.bank.receive_record(HOST, port, token)
    view = agents.bank.request_view(request_id)
    assert view.results == (found,) and len(view.uses) == 1
    assert agents.bank.run(request_id) == found  # the second use, in the session


def test_a_permit_of_the_gateway_needs_the_owners_key_and_its_owner(agents: Agents) -> None:
    token, bank, key = agents.gateway_permit(), agents.bank, agents.owner.key
    with exchange(agents.owner.redeem) as port:
        with pytest.raises(InvalidRequest, match="owner_key"):
            bank.receive_record(HOST, port, token)
        with exchange(lambda _: b"{}") as other, pytest.raises(MalformedMessage):
            bank.receive_record(HOST, other, token, owner_key=key)
        assert bank.receive_record(HOST, port, token, owner_key=key) == {"income": "40,000–59,999"}
        wrong = agents.governed.keys["bank_2"].public.hex()
        with pytest.raises(NotAuthentic):  # whoever responds there has another key
            bank.receive_record(HOST, port, agents.gateway_permit(), owner_key=wrong)
    with pytest.raises(AgentUnreachable):
        bank.receive_record(HOST, port, token, owner_key=key)
