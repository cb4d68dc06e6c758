"""Schemas of two, three and four parties, and the real page in a real browser."""

import copy
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    PROGRAMS,
    EngineFacts,
    ProgramFacts,
    PublicModel,
    Slot,
)
from features.schema import Schema
from tests.parties.running import LiveServer, live_server, oracle
from tests.ui.hosts import ONLY_THIS_MACHINE, note_requests, other_hosts
from tests.ui.links import printed_link
from ui.waiting import wait_for_page
from utils.child_process import ChildProcess
from utils.ports import free_port

__all__ = ["live_server", "oracle"]

COUNT_FRAMES = """
{
  const ask = requestAnimationFrame.bind(window);
  window.framesAsked = 0;
  window.requestAnimationFrame = (draw) => { framesAsked += 1; return ask(draw); };
}"""
"""Counts the animation frames that a page asks for; run before all scripts of the page."""

STRANGERS = frozenset({"elsewhere.example", "evil.example", "evil6.example"})
"""Names of foreign pages that tests open on purpose."""

EVERY_KIND = {
    "name": "kinds",
    "title": "Every <kind> & more",
    "parties": [
        {
            "name": "first",
            "label": "First",
            "columns": [
                {"name": "Flag", "kind": "boolean", "label": "Flag", "default": True},
                {
                    "name": "Maybe",
                    "kind": "boolean",
                    "label": "Maybe",
                    "default": None,
                    "optional": True,
                },
                {
                    "name": "Colour",
                    "kind": "categorical",
                    "label": "Colour",
                    "values": ["red", "blue"],
                    "default": "blue",
                },
                {
                    "name": "Mood",
                    "kind": "categorical",
                    "label": "Mood",
                    "values": ["good", "bad"],
                    "optional": True,
                },
            ],
        },
        {
            "name": "second",
            "label": "Second <b>",
            "columns": [
                {
                    "name": "Amount",
                    "kind": "ordinal",
                    "label": "Amount",
                    "minimum": 0,
                    "maximum": 10,
                    "cuts": [2.5, 5],
                    "default": 3.5,
                },
                {
                    "name": "Perhaps",
                    "kind": "ordinal",
                    "label": "Perhaps",
                    "minimum": 0,
                    "maximum": 10,
                    "cuts": [5],
                    "optional": True,
                    "integer": True,
                },
                {
                    "name": "Grade",
                    "kind": "ordinal",
                    "label": "Grade",
                    "minimum": 0,
                    "maximum": 9,
                    "cuts": [2, 4],
                    "optional": True,
                    "form": "bins",
                },
                {
                    "name": "Level",
                    "kind": "ordinal",
                    "label": "Level",
                    "minimum": 0,
                    "maximum": 9,
                    "cuts": [3, 6],
                    "default": 4,
                    "form": "bins",
                    "unit": "steps",
                },
            ],
        },
    ],
    "decision": {"target": "Bad", "approved": "granted", "denied": "refused"},
    "explanation": {"column": "Level", "phrase": "levels"},
}


def with_parties(count: int) -> Schema:
    """Return EVERY_KIND with `count` parties; each additional one has a single column."""
    document = copy.deepcopy(EVERY_KIND)
    for i in range(2, count):
        column = {"name": f"Extra{i}", "kind": "boolean", "label": f"Extra {i}", "default": False}
        document["parties"].append(
            {"name": f"party{i}", "label": f"Party {i}", "columns": [column]}
        )
    return Schema.parse(document)


def public_of(schema: Schema, *, encrypted: bool = True, score_bits: int = 8) -> PublicModel:
    first = schema.party_names[0]
    slots = [(first, EVALUATION_KEY)] + [(p, ENCRYPTED_INPUTS) for p in schema.party_names]
    facts = ProgramFacts(outputs=("score",), score_bits=score_bits, scale=20.0)
    return PublicModel(
        engine=EngineFacts(
            name="stub",
            label="Stub engine",
            encrypted=encrypted,
            joint_keys=False,
            secret_key="The first party makes it and shares it.",  # noqa: S106
            opened="The score, nothing else.",
            explains_by="program",
        ),
        model_version="0123456789abcdef",
        schema=schema,
        programs={DECIDE: facts, EXPLAIN: facts},
        slots=[
            Slot(party=p, file_name=n, needed_for=PROGRAMS, maximum_bytes=1000) for p, n in slots
        ],
        client_sha256="",
        versions={},
    )


@pytest.fixture(params=[2, 3, 4])
def any_schema(request) -> Schema:
    return with_parties(request.param)


class LivePage(ChildProcess):
    """`python app.py` for a server."""

    def __init__(self, folder: Path, server: LiveServer, **more: Any) -> None:
        port = free_port()
        settings = {
            "server_url": server.url,
            "page_port": port,
            "party_data": folder / "parties",
            "deployment": server.deployment,
            **more,
        }
        super().__init__(["app.py"], folder / "page.log", settings)
        self.start()
        wait_for_page(f"http://127.0.0.1:{port}", self._check)
        self.link = printed_link(self.log())

    def _check(self) -> None:
        if not self.alive:
            raise RuntimeError(self.log())


@pytest.fixture(scope="module")
def live_page(tmp_path_factory, live_server):
    page = LivePage(tmp_path_factory.mktemp("page"), live_server)
    yield page
    page.stop()


@contextmanager
def chromium_with(*options: str, hosts: frozenset[str] = STRANGERS):
    """Run Chromium with further options; skips the test if there is none.

    Its pages are asked for reduced motion, since drawing without a GPU takes much of a test's time.
    At the end, no page has tried to reach another host than this machine and `hosts`.
    """
    pytest.importorskip("playwright.sync_api")
    from trials.browser import ChromiumMissing, chromium

    try:
        with chromium(f"--host-resolver-rules={ONLY_THIS_MACHINE}", *options) as started:
            started.new_context = partial(started.new_context, reduced_motion="reduce")
            asked = note_requests(started)
            yield started
    except ChromiumMissing as missing:
        pytest.skip(str(missing))
    assert asked and other_hosts(asked) <= hosts, "pages tried to reach other hosts"


def without_plots(page):
    """Keep a page and its frames from loading Plotly, which takes each of them about a second."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setBlockedURLs", {"urls": ["*/assets/PlotlyPlot-*"]})


@pytest.fixture(scope="module")  # while it exists, this thread can run no other event loop
def browser():
    with chromium_with() as started:
        yield started


@pytest.fixture(scope="module")
def context(browser):
    """One browser profile for a module's tests, so that it caches what all pages load."""
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture(scope="module")
def open_page(context, live_page):
    """Open the page in a new session; the list `asked` has the addresses that it requested."""
    pages = []

    def begin(width=1280, height=900, scheme="light"):
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(40_000)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.add_init_script(COUNT_FRAMES)
        page.goto(live_page.link)
        page.wait_for_selector("#make-keys")
        return page

    yield begin
    for page in pages:
        page.close()
