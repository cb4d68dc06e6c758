"""The calls by which the stage plays an example: without their token, nothing can be done."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest

from tests.ui.conftest import with_parties
from tests.ui.guarded_pages import Page
from tests.ui.links import opened
from tests.ui.serving import served
from tests.ui.test_joint_pages import joint_public
from ui.agent.demonstration import LARGEST_BODY, PATH, DemonstrationCalls
from ui.guard import PageGuard
from ui.stage.agents import Agents
from utils.errors import NotAuthorised, OutOfStep, UnknownApplication

TOKEN = "a token of the demonstration alone"  # noqa: S105
ID = "ab" * 16
SEND = {"client_id": ID, "step": "send", "example": 0}
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}


class Agent:
    """An agent with one application; it notes what it was made to do."""

    def __init__(self, decision=None):
        schema = with_parties(2)
        self.connection = SimpleNamespace(public=joint_public(schema))
        self.party, self.did = schema.party("first"), []
        self._application = SimpleNamespace(
            member=SimpleNamespace(
                has_sent=False,
                reads=lambda _: True,
                decision=decision,
                agreed_by=lambda program: ("first",) if program == "decide" else (),
            ),
            look=lambda: None,
            send=lambda record: self.did.append(record),
            agree=lambda program: self.did.append(program),
        )

    def application(self, client_id):
        if client_id != ID:
            raise UnknownApplication("This process does not take part in that application.")
        return self._application


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page("party", tmp_path_factory.mktemp("page"))


@contextmanager
def calls_of(page, agent):
    """Serve the page of a demonstration's agent."""
    app = DemonstrationCalls(PageGuard(page.app, page.place), agent, page.place, TOKEN)
    with served(app, page.port) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def test_calls_need_their_token_and_no_browser(page):
    """The control, a call of the stage's own client, acts."""
    agent = Agent()
    with calls_of(page, agent) as client:
        assert client.post(PATH, json=SEND).status_code == 401
        for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            assert client.post(PATH, json=SEND, headers={"Authorization": wrong}).status_code == 401
        with opened(page.link) as browser:  # with the page's own cookie
            assert browser.post(PATH, json=SEND).status_code == 403
            assert browser.post(PATH, json=SEND, headers=ALLOWED).status_code == 403
        for header, value in (
            ("Origin", page.place.address),
            ("Origin", "null"),
            ("Referer", f"{page.place.address}/"),
            ("Sec-Fetch-Site", "same-origin"),
        ):
            sent = client.post(PATH, json=SEND, headers={**ALLOWED, header: value})
            assert sent.status_code == 403, header
        foreign = {**ALLOWED, "Host": f"evil.example:{page.port}"}
        assert client.post(PATH, json=SEND, headers=foreign).status_code == 421
        token = {"Authorization": f"Bearer {page.place.access.token}"}
        assert client.post(PATH, json=SEND, headers=token).status_code == 401
        assert agent.did == []
        answer = client.post(PATH, json=SEND, headers=ALLOWED)
        assert (answer.status_code, answer.json()) == (200, {"needed": True})
        assert answer.headers["cache-control"] == "no-store"
        assert [set(record) for record in agent.did] == [{c.name for c in agent.party.columns}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps({**SEND, "step": "erase"}), 422),
        (json.dumps({**SEND, "client_id": "../bank"}), 422),
        (json.dumps({**SEND, "example": 63}), 422),
        (json.dumps({**SEND, "record": {}}), 422),
        ("{", 422),
        (json.dumps({**SEND, "client_id": "cd" * 16}), 404),
        (json.dumps(SEND) + " " * LARGEST_BODY, 413),
    ],
)
def test_other_bodies_are_refused(page, body, status):
    agent = Agent()
    with calls_of(page, agent) as client:
        answer = client.post(PATH, content=body, headers=ALLOWED)
        assert answer.status_code == status and agent.did == []
        assert client.get(PATH, headers=ALLOWED).status_code == 422


def test_an_agent_outside_the_demonstration_has_no_such_calls(page):
    with page.served() as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.post(PATH, json=SEND, headers=ALLOWED).status_code == 403
        with opened(page.link) as browser:  # past the guard, nothing is there
            assert browser.post(PATH, json=SEND, headers=ALLOWED).status_code in (404, 405)


def test_the_stage_takes_steps_and_hears_whether_reasons_are_needed(page):
    def stage(token):
        return Agents(
            SimpleNamespace(
                demonstration_tokens={"first": SimpleNamespace(get_secret_value=lambda: token)},
                page_host="127.0.0.1",
                agent_port=page.port,
            ),
            ["first"],
        )

    agent = Agent(SimpleNamespace(approved=False))
    with calls_of(page, agent):
        agents = stage(TOKEN)
        assert agents.complete
        assert agents.take("first", ID, "decide", 0) and agent.did == []  # it has agreed already
        assert agents.take("first", ID, "reasons", 0) and agent.did == ["reasons"]
        with pytest.raises(NotAuthorised):
            stage("another token").take("first", ID, "reasons", 0)
    with calls_of(page, Agent(SimpleNamespace(approved=True))):
        assert not stage(TOKEN).take("first", ID, "reasons", 0)
    with calls_of(page, Agent()), pytest.raises(OutOfStep):
        stage(TOKEN).take("first", ID, "reasons", 0)
