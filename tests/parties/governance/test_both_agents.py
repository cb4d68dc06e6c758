"""The agents of an owner and of an institution, with each other, over a server."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from governance.receipts import Receipt
from governance.requests import Uses
from parties.governance.exchange_seal import LARGEST_CALL
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from parties.governance.views import RequestView
from parties.identity_file import IDENTITY_KEY
from parties.store import PartyStore
from tests.parties.governance.owner_cases import (
    MEAN,
    RECORD,
    SECRET,
    USER,
    GovernedServer,
    store_salaries,
)
from tests.service.driver import bearer
from utils.atomic_files import write_new
from utils.errors import (
    AgentUnreachable,
    ConsentMissing,
    InvalidRequest,
    MalformedMessage,
    NotAuthentic,
    PermitSpent,
    TrisealError,
)

CHECKING = "dpv:CreditChecking"
LONG = 20.0


class Agents:
    """Both agents, and what a restart of each needs."""

    def __init__(self, governed: GovernedServer, folder: Path) -> None:
        self.governed, self.home = governed, folder
        PartyStore(folder).claim()
        write_new(folder / IDENTITY_KEY, governed.keys["bank_1"].to_pem())
        self.owner = self.start_owner()
        self.bank = self.start_bank()
        self.salaries = store_salaries(self.owner)
        if not self.owner.data_sets(tag="record"):
            self.owner.store_data(RECORD, "record", "Myself", schema_name="personal_record")
        hosted = self.owner.host_session("My pay")
        assert hosted.code is not None
        self.session = self.bank.connect_session(hosted.code).session_id

    def start_owner(self) -> Owner:
        self.owner = Owner.start(self.governed.home, self.governed.client, USER, SECRET)
        return self.owner

    def start_bank(self) -> Institution:
        token = self.governed.tokens["bank_1"]
        self.bank = Institution.start(self.home, self.governed.client, "Bank of X", token)
        return self.bank

    def ask(self, **changes: Any) -> str:
        members = {
            "action": "statistic",
            "purpose": CHECKING,
            "reason": "To check that the income covers the loan.",
            "computation": MEAN,
        }
        target = changes.pop("target", self.salaries)
        return self.bank.request(self.session, target, **{**members, **changes}).request.id

    def until(self, request_id: str, fits: Callable[[RequestView], bool]) -> RequestView:
        """Wait until the institution's view of a request fits; return it."""
        end, serial = time.monotonic() + LONG, self.bank.serial
        while not fits(view := self.bank.request_view(request_id)):
            assert time.monotonic() < end, f"the request is still {view.status}: {view.problem}"
            serial = self.bank.wait(serial, 1)
        return view

    def close(self) -> None:
        self.bank.close()
        self.owner.close()


@pytest.fixture(scope="module")
def agents(governed: GovernedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    made = Agents(governed, tmp_path_factory.mktemp("bank"))
    yield made
    made.close()


@contextmanager
def exchange(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Serve `POST /exchange` at a port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), LARGEST_CALL))
            try:
                status, found = 200, answer(body)
            except TrisealError as error:
                problem = {"type": f"urn:triseal:error:{error.code}", "detail": error.message}
                status, found = 409, json.dumps(problem).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


def test_a_statistic_from_the_request_to_the_log(agents: Agents) -> None:
    (view,) = agents.bank.data_sets(agents.session, tag="salaries", words="pay")
    assert agents.bank.try_on_mock(agents.session, view.id, MEAN)["kind"] == "mean"
    request_id = agents.ask(uses=Uses(count=2))
    with pytest.raises(ConsentMissing):
        agents.bank.run(request_id)
    agents.owner.approve(request_id, uses=Uses(count=1))
    active = agents.until(request_id, lambda view: view.status == "active")
    assert active.grant is not None and active.grant.uses.count == 1
    receipt = agents.bank.receipt(request_id)
    assert receipt == agents.owner.receipt(request_id)
    Receipt.parse(receipt, agents.owner.key, active.request.digest)
    assert agents.bank.run(request_id)["value"] == 1065
    used = agents.until(request_id, lambda view: view.status == "used up")
    (use,) = used.uses
    assert use == agents.owner.request(request_id).uses[0].model_copy(update={"at": use.at})
    (line,) = agents.governed.logs(kind="use", user_id=USER, limit=1)
    assert line["index"] == use.entry


def test_an_owner_that_goes_away_costs_no_use_and_goes_on_after_its_restart(
    agents: Agents,
) -> None:
    request_id = agents.ask(uses=Uses(count=1))
    agents.owner.approve(request_id)
    agents.until(request_id, lambda view: view.status == "active")
    agents.owner.close()
    with pytest.raises(AgentUnreachable):
        agents.bank.run(request_id, wait=0.3)
    agents.bank.close()
    agents.start_bank()
    agents.start_owner()
    assert agents.bank.run(request_id)["value"] == 1065
    assert len(agents.until(request_id, lambda view: view.status == "used up").uses) == 1
    assert len(agents.owner.request(request_id).uses) == 1


def test_a_revocation_stops_what_has_not_run(agents: Agents) -> None:
    request_id = agents.ask(uses=Uses(count=5))
    agents.owner.approve(request_id)
    agents.until(request_id, lambda view: view.status == "active")
    agents.owner.revoke(request_id, "No longer.")
    agents.until(request_id, lambda view: view.status == "revoked")
    with pytest.raises(ConsentMissing, match="No longer"):
        agents.bank.run(request_id)


def test_a_release_in_the_session_is_masked(agents: Agents) -> None:
    (record,) = agents.owner.data_sets(tag="record")
    request_id = agents.ask(
        action="release", computation=None, target=record.id, fields=("birth_date", "income")
    )
    agents.owner.approve(request_id)
    agents.until(request_id, lambda view: view.status == "active")
    found = agents.bank.run(request_id)
    assert found["income"] == "40,000–59,999" and "1990" not in str(found)


def test_a_record_of_the_direct_exchange(agents: Agents) -> None:
    agents.owner.consent("bank_1", CHECKING, True)
    body = {
        "partner_id": "bank_1",
        "user_id": USER,
        "purpose": CHECKING,
        "requested_data": ["income"],
    }
    headers = bearer(agents.governed.tokens["bank_1"])
    made = agents.governed.server.http.post("/authorize", json=body, headers=headers)
    token = made.json()["token"]
    with exchange(agents.owner.redeem) as port:
        with pytest.raises(InvalidRequest, match="owner_key"):
            agents.bank.receive_record("127.0.0.1", port, token)
        with exchange(lambda _: b"{}") as other, pytest.raises(MalformedMessage):
            agents.bank.receive_record("127.0.0.1", other, token, owner_key=agents.owner.key)
        found = agents.bank.receive_record("127.0.0.1", port, token, owner_key=agents.owner.key)
        assert found == {"income": "40,000–59,999"}
        with pytest.raises(PermitSpent):
            agents.bank.receive_record("127.0.0.1", port, token, owner_key=agents.owner.key)
    with pytest.raises(AgentUnreachable):
        agents.bank.receive_record("127.0.0.1", port, token, owner_key=agents.owner.key)


def test_a_record_of_somebody_else_is_refused(agents: Agents) -> None:
    """Whoever sits at the address has the permit, but not the owner's key."""
    body = {
        "partner_id": "bank_1",
        "user_id": USER,
        "purpose": CHECKING,
        "requested_data": ["income"],
    }
    headers = bearer(agents.governed.tokens["bank_1"])
    made = agents.governed.server.http.post("/authorize", json=body, headers=headers)
    wrong = agents.governed.keys["bank_2"].public.hex()
    with exchange(agents.owner.redeem) as port, pytest.raises(NotAuthentic):
        agents.bank.receive_record("127.0.0.1", port, made.json()["token"], owner_key=wrong)
