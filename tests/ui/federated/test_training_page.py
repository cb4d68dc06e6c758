"""The page of a training: a real coordinator's process and lenders in threads, in a browser."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, closing, contextmanager

import gradio as gr
import numpy as np
import pytest

from features.encoding import Layout
from features.records import Records
from features.schema import Schema
from federated.agents.at_work import AtWork
from federated.agents.lender_agent import LenderAgent, Own
from federated.agents.member_agent import BOOSTER, RECORD
from federated.plan import Plan
from parties.identity_file import make_identity
from parties.trainings_client import TrainingsClient
from settings import ROOT
from tests.federated.protocol.network import rows_of
from tests.parties.running import until
from tests.ui.accessible import check_accessible
from tests.ui.federated.test_training_words import StandIn, view_of
from tests.ui.hosts import assert_names_no_other_host
from tests.ui.links import printed_link
from tests.ui.serving import served
from tests.ui.test_page import assert_fits
from trials.servers import STAND_IN_SERVER, Server, Setup
from ui.federated import texts
from ui.federated.actions import Shown, TrainingActions
from ui.federated.page import build_training_page
from ui.places import nobody
from ui.serving import app_of
from ui.waiting import wait_for_page
from utils.child_process import ChildProcess
from utils.ports import free_port

SCHEMA_FILE = ROOT / "features" / "german_credit.json"
SCHEMA = Schema.load(SCHEMA_FILE)
NAMES = ("lender_1", "lender_2", "lender_3")
TREES = 6


class CoordinatorPage(ChildProcess):
    """`python -m federated coordinator` with its page."""

    def __init__(self, folder, server):
        self.home, port = folder / "coordinator", free_port()
        words = ["-m", "federated", "coordinator", "--lenders", ",".join(NAMES)]
        words += ["--schema", str(SCHEMA_FILE), "--home", str(self.home), "--server", server.url]
        words += ["--trees", str(TREES), "--page-port", str(port)]
        super().__init__(words, folder / "coordinator.log", {})
        self.start()
        wait_for_page(f"http://127.0.0.1:{port}", self._check)
        self.link = printed_link(self.log())

    def _check(self):
        if not self.alive:
            raise RuntimeError(self.log())


class LenderInThread:
    """A lender of the test process; `go` has it take part."""

    def __init__(self, name, folder, server, code, held):
        home = folder / name
        layout = Layout(SCHEMA)
        states, outcomes = rows_of(Plan(schema=SCHEMA), 400, NAMES.index(name))
        records = Records(states.astype(np.uint8), outcomes.astype(np.uint8))
        client = held.enter_context(TrainingsClient(server.url, 30))
        own = Own(layout, records, make_identity(home), {})
        self.agent = held.enter_context(closing(LenderAgent.join(home, client, name, code, own)))
        files = {"booster": home / BOOSTER, "record": home / RECORD}
        self.work = AtWork("lender", self.agent, self.agent.leave, files)
        self.thread = threading.Thread(target=self.agent.run, daemon=True)
        held.callback(self.end)

    def go(self):
        self.thread.start()

    def end(self):
        self.agent.stop()
        if self.thread.is_alive():
            self.thread.join(20)


@contextmanager
def lender_page(work):
    """Serve a lender's page without its guard, which tests/ui/test_guard.py is about."""
    port = free_port()

    class Place:
        host, url, framed_by, frames = "127.0.0.1", None, nobody, nobody

    Place.port = port
    with served(app_of(build_training_page(work), Place()), port) as address:
        yield address


@pytest.fixture(scope="module")
def training(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("training")
    with ExitStack() as held:
        server = Server("server", folder, Setup({}, STAND_IN_SERVER))
        held.callback(server.stop)
        server.start()
        server.wait()
        coordinator = CoordinatorPage(folder, server)
        held.callback(coordinator.stop)
        codes = coordinator.home / "codes"
        lenders = [
            LenderInThread(name, folder, server, (codes / name).read_text().strip(), held)
            for name in NAMES
        ]
        own = held.enter_context(lender_page(lenders[0].work))
        pages = []
        for address in (coordinator.link, own):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            held.callback(page.close)
            page.set_default_timeout(40_000)
            page.goto(address)
            page.wait_for_selector("#state")
            pages.append(page)
        yield coordinator, lenders, pages


def fits(page):
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
        if width == 390:
            assert page.evaluate("document.documentElement.scrollHeight") < 5000
    check_accessible(page, widths=(1280, 390))


def test_a_training_is_followed_from_the_first_lender_to_the_model(training, tmp_path):
    coordinator, lenders, (page, own) = training

    # Before the start: who is missing, where the codes are, and none of the codes.
    page.wait_for_selector("text=0 of 3 lenders have joined")
    assert_names_no_other_host(page)
    assert str(coordinator.home / "codes") in page.content()
    for path in (coordinator.home / "codes").iterdir():
        assert path.read_text().strip() not in page.content()
    lenders[0].go()
    page.wait_for_selector("text=1 of 3 lenders have joined")
    own.wait_for_selector("text=The training begins when the other lenders have joined")
    for each in (page, own):
        assert each.locator(".ts-alarm").count() == 0
        fits(each)

    # A button that ends the training asks first, and does nothing if it is taken back.
    page.click("#end")
    page.click("#keep")
    page.wait_for_selector("#end")
    for lender in lenders[1:]:
        lender.go()

    # The end: everything is shown on both pages without a reload.
    for each in (page, own):
        each.wait_for_selector(f"text=Finished: {TREES} trees, validation AUC 0.")
        each.wait_for_selector("#download-record")
        assert each.locator("#end").count() == 0
        assert each.locator(".ts-leaves li").count() >= 2
        each.wait_for_selector("#plot-auc .main-svg")
        each.wait_for_selector("#plot-strip .main-svg")
        fits(each)
    trees = page.locator(".ts-lenders td[data-who='Trees']").all_text_contents()
    assert trees == [str(TREES)] * len(NAMES)
    assert own.locator(".ts-lenders td[data-who='Drop-outs']").count() == 0

    # Any tree can be read, and the files are those of the agent's folder.
    page.click("#tree-choice input")
    page.click('ul[role="listbox"] li[aria-label="2"]')
    page.wait_for_selector("h3:text-is('Tree 2')")
    for name in ("booster", "record"):
        with page.expect_download() as download:
            page.click(f"#download-{name}")
        download.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (coordinator.home / f"{name}.json").read_bytes()
    assert len(json.loads((tmp_path / "record").read_bytes())["trees"]) == TREES
    until(lambda: all(lender.agent.view().state == "finished" for lender in lenders))


def test_every_event_of_the_page_has_a_name_and_a_limit():
    page = build_training_page(AtWork("lender", StandIn(view_of()), lambda: None, {}))
    names = [event.api_name for event in page.fns.values()]
    assert {"arrive", "tick", "choose_tree", "ask_end", "end", "keep"} == set(names)
    assert len(names) == len(set(names))
    assert all(isinstance(event.concurrency_limit, int) for event in page.fns.values())
    (tick,) = (event for event in page.fns.values() if event.api_name == "tick")
    assert [type(shown) for shown in tick.show_progress_on] == [gr.State]


def test_the_training_is_ended_only_after_the_question():
    ended = []
    work = AtWork("coordinator", StandIn(view_of()), lambda: ended.append(1), {})
    do, shown = TrainingActions(work), Shown()
    do.end(shown)
    assert ended == [], "nothing was asked"
    assert do.ask_end(shown)["confirm_row"]["visible"]
    before = work.serial
    found = do.end(shown)
    assert ended == [1] and work.serial > before, "other tabs are told"
    assert texts.ENDING["coordinator"] in found["training"]
    assert not found["end"]["visible"] and not found["confirm_row"]["visible"]
    do.end(shown)
    assert ended == [1], "a second press does nothing"
