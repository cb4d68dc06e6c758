"""The stage and the parties' own pages, as `make demo` starts them, in a real browser.

The demonstration listens on IPv6. The first half of the tests reaches it by an IPv4 address,
through a relay; the second half by its own address, and attacks it from foreign pages in the same
browser.
"""

import json
import os
import re
import signal
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from engines.interface import REASONS
from engines.levelled.server import LevelledServer
from governance.log.decision_file import DecisionFile
from model.explanation import Outcome
from model.reasons import principal_reasons
from parties.client import ServerClient
from parties.joint.codes import open_joint
from tests.parties.running import Oracle, until
from tests.ui import keyboard
from tests.ui.accessible import check_accessible
from tests.ui.conftest import LivePage, chromium_with, without_plots
from tests.ui.demos import Demo, alive, free_ports, relayed_from_ipv4
from tests.ui.foreign import (
    CALL,
    NAMED_BY_STRANGERS,
    READ,
    SERVER_READ,
    attack,
    fetch,
    submit,
)
from tests.ui.hosts import assert_names_no_other_host
from tests.ui.links import opened as opened_link
from tests.ui.test_page import OUTLINE, assert_fits
from training.opened import opened_values
from ui.error_words import is_technical
from ui.examples import load_examples
from ui.forms import bin_words
from ui.waiting import wait_for_page
from utils.ports import free_port

ID_OF_NONE = "0" * 32
NUMBERS = ["Num_children", "Household_size", "Total_income", "Age", "Account_age"]
CHECKS = ["Own_car", "Own_property", "Mobile_phone", "Employed"]
VARIED = [*NUMBERS, *CHECKS, "Years_employed"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, signs_deployment):
    addresses = {"server_host": "::1", "page_host": "::1"}
    folder = tmp_path_factory.mktemp("stage")
    started = Demo(folder, signs_deployment, "levelled", **addresses)
    try:
        started.wait_for("Triseal is ready")
        with relayed_from_ipv4([started.page_port, *started.agent_ports(3)]):
            yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def signs_oracle(signs_deployment):
    return Oracle(signs_deployment, "levelled")


@pytest.fixture(scope="module")
def turned(signs_oracle):
    """Return a denied record that a longer employment would turn."""
    return signs_oracle.find(Outcome.TURNED, VARIED)


@pytest.fixture(scope="module")
def browser():
    with chromium_with(*NAMED_BY_STRANGERS) as started:
        yield started


class Stage:
    """The stage in a new browser session; `by_keyboard` presses buttons without a pointer."""

    def __init__(self, context, demo, schema, host, size, scheme, by_keyboard, plots=True):
        self.by_keyboard = by_keyboard
        self.schema, self.names = schema, schema.party_names
        self.page = context.new_page()
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(40_000)
        if not plots:
            without_plots(self.page)
        self.asked, self.referrers = [], []
        self.page.on("request", self._note)
        link = urlsplit(demo.link)
        self.page.goto(link._replace(netloc=f"{host}:{link.port}").geturl())
        self.page.wait_for_selector("#new")

    def _note(self, request):
        self.asked.append(request.url)
        self.referrers.append(request.headers.get("referer"))

    @property
    def is_narrow(self):
        """True if the window shows one party's page at a time (ui/style.css)."""
        return self.page.viewport_size["width"] <= 720

    def show(self, party):
        """In a narrow window, choose the party whose page is shown."""
        if not self.is_narrow:
            return
        tab = self.page.locator(f'.ts-tabs input[value="{party}"]')
        if not tab.is_checked():
            tab.dispatch_event("click")  # it may be below the steps, which stay in view

    def frame(self, party):
        self.show(party)
        return self.page.frame_locator(f'iframe[data-agent="{party}"]')

    def content(self, party):
        """Return the frame itself, whose document has the focus."""
        host = self.page.locator(f'iframe[data-agent="{party}"]')
        return host.element_handle().content_frame()

    def url(self, party):
        return self.page.locator(f'iframe[data-agent="{party}"]').get_attribute("src")

    def open(self):
        """Open an application whose results all parties learn."""
        choices = self.page.get_by_role("button", name="Who learns the results")
        choices.click()
        for name in self.names:
            label = self.schema.party(name).label
            for group in ("#readers", "#explanation-readers"):
                self.page.locator(group).get_by_label(label, exact=True).check()
        choices.click()  # folds them again
        if self.by_keyboard:
            keyboard.press(self.page, "#new", key="Space")
        else:
            self.page.click("#new")
        for name in self.names:
            self.frame(name).locator(".ts-print").wait_for()
        return self

    def unfold(self, title):
        """In a narrow window, show the content of a section."""
        self.page.get_by_label(f"Show: {title}").check(force=True)

    def fill(self, oracle, record):
        """Type a record whose other columns have their defaults."""
        for party in self.schema.parties:
            frame = self.frame(party.name)
            for column in party.columns:
                field = frame.locator(f"#field-{column.name} input")
                if column.name in NUMBERS:
                    field.fill(str(int(record[column.name])))
                elif column.name in CHECKS:
                    field.set_checked(record[column.name])
                elif column.name == "Years_employed":
                    reached = sum(record[column.name] >= cut for cut in column.cuts)
                    field.click()
                    label = bin_words(column)[reached]
                    frame.locator(f'ul[role="listbox"] li[aria-label="{label}"]').click()
        return self

    def press(self, button, done, parties=None):
        """Press a button in every frame, and wait for a selector in every frame."""
        for name in parties or self.names:
            if self.by_keyboard:
                keyboard.press(self.page, button, self.content(name))
            else:
                self.frame(name).locator(button).click()
        for name in parties or self.names:
            self.frame(name).locator(done).first.wait_for()
        return self

    def send(self):
        return self.press("#send", ".ts-strip li.done:nth-child(2)")

    def decide(self):
        return self.press("#agree-decide", ".ts-word")

    def text(self, party, selector):
        return self.frame(party).locator(selector).first.inner_text().strip()

    def told(self, party, button, words):
        """Press a button of a party's page; return the message below it, which has `words`."""
        section = self.frame(party).locator(f".ts-section:has({button})")
        section.locator(button).click()
        message = section.locator(".ts-told", has_text=words)
        message.wait_for()
        return message.inner_text()

    def why_not(self, party, button):
        """Return why a button of a party's page cannot be pressed, as on hover."""
        found = self.frame(party).locator(f"{button}[disabled][title]")
        described = self.frame(party).locator(f"#{found.get_attribute('aria-describedby')}")
        assert described.text_content() == found.get_attribute("title")
        return found.get_attribute("title")

    def strip_done(self, number):
        self.page.wait_for_selector(f".ts-strip li.done:nth-child({number})")


def assert_refusal_passes(one):
    """A refusal is shown until its cause has gone."""
    one.page.get_by_role("button", name="Who learns the results").click()
    boxes = one.page.locator("#readers input")
    boxes.last.wait_for()
    for box in boxes.all():
        box.uncheck()
    one.page.click("#new")
    told = one.page.locator("text=Choose at least one party that learns the decision.")
    told.wait_for()
    boxes.first.check()
    told.wait_for(state="detached")
    one.page.get_by_role("button", name="Who learns the results").click()


@contextmanager
def opened_stage(context, demo, schema, host, size, scheme, by_keyboard=False, plots=True):
    """Yield a stage with a new application; before it, the stage loads no party's page."""
    one = Stage(context, demo, schema, host, size, scheme, by_keyboard, plots)
    for port in demo.agent_ports(len(one.names)):
        placed = f".ts-frames >> text=own process, {host}:{port}"
        one.page.wait_for_selector(placed, state="attached")
    assert_fits(one.page)
    check_accessible(one.page, schemes=(scheme,))
    assert one.page.locator("iframe").count() == 0
    if not one.is_narrow:
        assert_refusal_passes(one)
    one.open()
    assert all(one.url(party).startswith(f"http://{host}:") for party in one.names)
    yield one
    one.page.close()


@pytest.fixture(scope="module")
def wide(context, demo, schema):
    with opened_stage(context, demo, schema, "127.0.0.1", (1280, 900), "light", True) as one:
        yield one


@pytest.fixture(scope="module")
def narrow(context, demo, schema):
    """The wide stage is narrowed at its end, with the plots."""
    with opened_stage(context, demo, schema, "[::1]", (390, 900), "dark", plots=False) as one:
        yield one


def assert_as_high_as_its_page(page, name, frame, most):
    """Nothing is cut off, and nothing scrolls inside, once the page has told its new height.

    In a narrow window a frame is at most `most` high.
    """
    for _ in range(40):
        box = page.locator(f'iframe[data-agent="{name}"]').bounding_box()
        end = frame.evaluate(
            "document.getElementById('agent-end').getBoundingClientRect().bottom + scrollY"
        )
        if min(end, most) <= box["height"] <= min(end, most) + 60:
            return
        page.wait_for_timeout(250)
    assert min(end, most) <= box["height"] <= min(end, most) + 60


def assert_all_fit(one, beside):
    """The stage and the parties' pages on it, `beside` each other or one at a time."""
    assert_fits(one.page)
    tops = []
    for name in one.names:
        one.show(name)
        shown = one.page.locator("iframe:visible").evaluate_all("e => e.map(x => x.dataset.agent)")
        assert shown == (one.names if beside else [name])
        tops.append(round(one.page.locator(f'iframe[data-agent="{name}"]').bounding_box()["y"]))
        frame = next(f for f in one.page.frames if f.url.startswith(one.url(name).split("?")[0]))
        assert_fits(frame)
        assert_as_high_as_its_page(one.page, name, frame, 6000 if beside else 3120)
        if not beside:
            assert one.page.evaluate("document.documentElement.scrollHeight") <= 5000
    assert not beside or max(tops) - min(tops) < 60


def test_codes_and_tokens_stay_out_of_referrers_and_logs(wide, demo):
    one = wide
    assert one.referrers and not any(one.referrers)
    asked = [dict(parse_qsl(urlsplit(one.url(name)).query)) for name in one.names]
    secrets = [value for query in asked for value in (query["token"], query["join"])]
    assert len(set(secrets)) == 2 * len(one.names)
    printed = demo.log() + demo.logged()
    assert not [secret for secret in secrets if secret in printed]
    framed = [frame.url for frame in one.page.frames[1:]]
    assert len(framed) == len(one.names) and not [url for url in framed if "token" in url]


def test_each_page_offers_its_steps_by_name(wide, demo):
    named = []
    for port in [demo.page_port, *demo.agent_ports(len(wide.names))]:
        answer = wide.page.context.request.get(f"http://127.0.0.1:{port}/gradio_api/info")
        named.append(set(answer.json()["named_endpoints"]))
    assert {"/new_application", "/play", "/next_step"} <= named[0]
    for found in named[1:]:
        assert {"/join", "/send", "/agree_decide", "/agree_explain"} <= found


def test_an_application_opened_elsewhere_can_be_watched(wide, demo, schema):
    with ServerClient(f"http://[::1]:{demo.server_port}", 30) as client:
        other = open_joint(client)
        first = schema.party_names[0]
        client.join(other.client_id, first, other.codes[first].split(".")[1])
        page = wide.page.context.new_page()
        watch = f"#watch={other.client_id}.{other.watch_token}"
        page.goto(f"http://127.0.0.1:{demo.page_port}/{watch}")  # as it is printed
        page.wait_for_selector("text=opened elsewhere. Each party")
        page.wait_for_selector("#play:disabled")
        page.wait_for_selector('#next:disabled[title*="its parties act on their own pages"]')
        described = page.get_attribute("#next", "aria-describedby")
        assert "its parties act" in page.locator(f"#{described}").text_content()
        page.wait_for_selector(".ts-strip >> text=Join 1/3")
        assert page.locator("iframe").count() == 0
        token = client.join(other.client_id, "bank", other.codes["bank"].split(".")[1]).token
        page.wait_for_selector(".ts-strip >> text=Join 2/3")
        client.erase(other.client_id, token)
        page.wait_for_selector("text=it has been erased")
        page.close()


def test_out_of_domain_value_shows_its_domain(wide):
    wide.frame("applicant").locator("#field-Age input").fill("17")
    wide.told("applicant", "#send", "Age cannot be '17': give a number from 18 to 120")
    wide.frame("applicant").locator("#field-Total_income input").fill("a lot")
    words = "Yearly income cannot be 'a lot', which is not a number"
    assert "10,000,000" in wide.told("applicant", "#send", words)
    income = wide.frame("applicant").locator("#field-Total_income input")
    assert income.evaluate(OUTLINE) == "solid"
    wide.frame("applicant").locator("#field-Total_income input").fill("157000")
    wide.frame("applicant").locator(".ts-told >> text=Age cannot be '17'").wait_for()
    wide.frame("applicant").locator("#field-Age input").fill("43")
    wide.frame("applicant").locator(".ts-told").wait_for(state="detached")  # its cause has gone


def test_contradicting_values_are_refused_on_their_fields_until_they_are_corrected(wide):
    frame = wide.frame("applicant")
    frame.locator("#field-Age input").fill("43")
    frame.locator("#field-Num_children input").fill("5")
    frame.locator("#field-Household_size input").fill("1")
    assert wide.told("applicant", "#send", "The household") == (
        "The household counts the applicant as well, so it has more people than children. Correct "
        "Children or Household size, then go on."
    )
    names = ("Num_children", "Household_size")
    fields = {name: frame.locator(f"#field-{name} input") for name in names}
    assert [field.evaluate(OUTLINE) for field in fields.values()] == ["solid", "solid"]
    assert frame.locator("#field-Age input").evaluate(OUTLINE) == "none"
    fields["Household_size"].fill("5")
    wide.page.wait_for_timeout(1000)
    assert frame.locator(".ts-told").count() == 1
    fields["Household_size"].fill("6")
    frame.locator(".ts-told").wait_for(state="detached")
    assert fields["Num_children"].evaluate(OUTLINE) == "none"
    assert frame.locator(".ts-strip li.done:nth-child(3)").count() == 0


def test_example_fills_only_its_own_form(wide):
    age = wide.frame("applicant").locator("#field-Age input")
    before = age.input_value()
    keyboard.press(wide.page, "text=Young, first account", wide.content("bank"))
    account_age = wide.frame("bank").locator("#field-Account_age input")
    for _ in range(50):
        if account_age.input_value() == "2":
            break
        wide.page.wait_for_timeout(100)
    assert account_age.input_value() == "2"
    assert age.input_value() == before


def test_lists_and_boxes_are_set_by_keyboard(wide):
    agency = wide.content("credit_agency")
    years = "document.querySelector('#field-Years_employed input').value"
    before = agency.evaluate(years)
    keyboard.reach(wide.page, "#field-Years_employed input", agency)
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        wide.page.keyboard.press(key)
    agency.wait_for_function(f"before => {years} !== before", arg=before, polling=100)
    box = wide.frame("applicant").locator("#field-Own_car input")
    own = box.is_checked()
    keyboard.press(wide.page, "#field-Own_car input", wide.content("applicant"), key="Space")
    assert box.is_checked() is not own


def test_reloaded_page_keeps_its_application(wide, turned):
    one, age = wide, str(int(turned["Account_age"]))
    bank = one.frame("bank")
    bank.locator("#field-Account_age input").fill(age)
    one.press("#send", ".ts-hex code", parties=["bank"])
    before = one.text("bank", ".ts-print code")
    alone = one.page.context.new_page()
    alone.goto(one.url("bank"))
    alone.wait_for_selector(".ts-print")
    assert alone.inner_text(".ts-print code") == before
    assert alone.input_value("#field-Account_age input") == age
    alone.click("text=Applications of this party")
    listed = alone.locator("#applications label", has_text="record sent; not agreed")
    listed.wait_for()
    alone.click("#leave")  # asks first, as it is under way
    assert "This application is under way" in alone.inner_text("dialog")
    alone.click("dialog >> text=Cancel")
    alone.wait_for_selector("dialog", state="detached")
    assert not alone.is_visible("#join")
    alone.click("#leave")
    alone.click("dialog .ts-yes")
    alone.wait_for_selector("#join")
    alone.wait_for_selector("#send[disabled][title^='Join an application first']")
    listed.click()
    alone.click("#open-application")
    alone.wait_for_selector(".ts-print")
    assert alone.inner_text(".ts-print code") == before
    assert alone.input_value("#field-Account_age input") == age
    alone.close()


def test_all_steps_from_keys_to_explanation(wide, demo, schema, signs_oracle, turned):
    """The bank has sent its record already; all buttons are pressed by keyboard."""
    one, record = wide, turned
    prints = {one.text(name, ".ts-print code") for name in one.names}
    assert len(prints) == 1
    key_of = {
        (party, label): one.text(party, f".ts-facts div:has-text('{label}') dd")
        for party, label in (("applicant", "Bank"), ("bank", "Applicant"), ("bank", "Own identity"))
    }
    assert key_of["applicant", "Bank"] == f"pinned, key {key_of['bank', 'Own identity']}"
    assert key_of["bank", "Applicant"].startswith("not pinned")
    others = [name for name in one.names if name != "bank"]
    one.fill(signs_oracle, record).press("#send", ".ts-strip li.done:nth-child(2)", others)
    one.strip_done(2)
    one.decide()
    for name in one.names:
        assert one.text(name, ".ts-word") == "Denied"
        assert "without a score" in one.text(name, ".ts-decision")
        assert not any(character.isdigit() for character in one.text(name, ".ts-decision"))
    one.press("#agree-explain", ".js-plotly-plot .bars .point")
    one.strip_done(4)
    owner = schema.explained_party
    explanation = signs_oracle.explanation(record)
    assert one.text(owner, ".ts-says") == explanation.text
    for name in one.names:
        tiles = one.frame(name).locator(".js-plotly-plot .bars .point text").all_text_contents()
        assert tiles == ["✓" if score >= 0 else "✕" for score in explanation.scores]
        marks = one.frame(name).locator(".js-plotly-plot .xaxislayer-above").text_content()
        assert ("now" in marks) is (name == owner)
    one.press("#agree-reasons", ".ts-reasons li, .ts-says:has-text('learns the reasons')")
    one.strip_done(5)
    model = LevelledServer(signs_oracle.deployment).public
    levels = opened_values(model, REASONS, signs_oracle.points(record))
    principal = [reason.text for reason in principal_reasons(schema, levels)]
    assert one.frame("applicant").locator(".ts-reasons li").all_inner_texts() == principal
    for name in one.names[1:]:
        assert one.frame(name).locator(".ts-reasons").count() == 0
        told = one.frame(name).locator(".ts-says:has-text('reasons')").inner_text()
        assert told == "Done. Only the applicant learns the reasons."
    assert_all_fit(one, beside=True)
    check_accessible(one.page)
    one.page.set_viewport_size({"width": 390, "height": 900})
    assert_all_fit(one, beside=False)  # with the plots
    log = one.page.inner_text(".ts-log")
    assert "commits to its encrypted record" in log and "its encrypted record" in log
    assert "confirms the encrypted result" in log
    assert "has computed the explanation" in log
    assert "its encrypted mask of the score" in log and "the masked scores" in log
    assert "has computed the explanation's signs" in log
    assert "has signed the decision" in log and "has signed the explanation" in log
    scrolled = "e => e.scrollTop + e.clientHeight >= e.scrollHeight - 2"
    assert one.page.eval_on_selector(".ts-log", scrolled)  # at the newest message
    times = one.page.locator(".ts-figures").first
    times.locator("tr:has-text('Reasons') td[data-who='Witness Auditor']:has-text(' ms')").wait_for(
        state="attached", timeout=20_000
    )
    assert all("s" in cell for cell in times.locator("td[data-who='Server']").all_inner_texts())
    keys = {one.text(name, ".ts-facts div:has-text('Public key begins') dd") for name in one.names}
    assert len(keys) == 1 and len(keys.pop().replace(" ", "")) == 32
    card = one.page.locator('[data-witness="Auditor"]', has_text=": signed")
    card.filter(has_text="the levels of the reasons of").wait_for(state="attached")
    with one.page.expect_download() as download:
        one.frame("bank").locator("#decision-file").click()
    file = DecisionFile.parse(Path(download.value.path()).read_bytes())
    assert len(file.grants) == len(one.names) and "— Auditor " in file.checkpoint
    with one.page.expect_download() as download:
        one.frame("applicant").locator("#save-json").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved["decision"] == "denied" and saved["reasons"] == principal
    assert saved["application"].isalnum() and saved["explanation"]
    ports = {demo.page_port, *demo.agent_ports(len(one.names))}
    for url in [None, *(frame.url for frame in one.page.frames[1:])]:
        assert_names_no_other_host(one.page, url)
    hosts = {url.split("/")[2] for url in one.asked if "://" in url}
    assert hosts == {f"127.0.0.1:{port}" for port in ports}  # nothing from elsewhere
    assert "Traceback" not in demo.log() + demo.logged()


def test_browser_sessions_are_separate(wide, narrow):
    """The last test on the wide stage."""
    assert wide.text("bank", ".ts-print code") != narrow.text("bank", ".ts-print code")
    assert "Send 0/3" in narrow.page.inner_text(".ts-strip")
    assert "Send 0/3" not in wide.page.inner_text(".ts-strip")
    wide.page.close()  # its pages would go on asking for news


def test_steps_out_of_order_name_missing_steps(narrow):
    one = narrow
    first = one.names[0]
    assert "(step 2)" in one.why_not(first, "#agree-decide")
    one.press("#send", ".ts-hex code", parties=one.names[1:])
    one.frame(one.names[1]).locator(".ts-strip >> text=Send 2/3").wait_for()
    told = one.why_not(one.names[1], "#agree-decide")
    assert told == "Waiting for the applicant to encrypt its record."
    assert one.page.inner_text("#next") == "Next: encrypt and send"
    assert one.page.locator("#example input").first.is_disabled()  # some records are fixed
    one.page.click("#next")  # for the party that has not sent
    one.frame(first).locator(".ts-strip li.done:nth-child(2)").wait_for()
    filled = one.frame(first).locator("#field-Age input")
    wanted = str(load_examples(one.schema)[0].record["Age"])
    for _ in range(100):
        if filled.input_value() == wanted:
            break
        one.page.wait_for_timeout(100)
    assert filled.input_value() == wanted
    assert "The decision is opened first" in one.why_not(first, "#agree-explain")


def test_reload_keeps_the_application_and_a_new_one_has_to_be_confirmed(narrow):
    one, page = narrow, narrow.page
    name = one.names[1]
    before, fragment = one.text(name, ".ts-print code"), urlsplit(page.url).fragment
    token = fragment.removeprefix("watch=").split(".")[1]
    page.reload()
    page.wait_for_selector("iframe", state="attached")
    one.frame(name).locator(".ts-print").wait_for()
    assert one.text(name, ".ts-print code") == before and urlsplit(page.url).fragment == fragment
    one.strip_done(2)
    assert len(token) > 20 and not [url for url in one.asked if token in url.partition("#")[0]]
    page.click("#new")
    page.locator(".ts-asking >> text=An application is under way").wait_for()
    page.click(".ts-asking >> text=Cancel")
    page.locator(".ts-asking").wait_for(state="detached")
    assert urlsplit(page.url).fragment == fragment
    for title in ("What has travelled", "Other pages"):
        one.unfold(title)
    page.locator(".ts-log").wait_for()


OTHER_PAGES = {
    "compliance": "Compliance",
    "consent-owner": "Ana",
    "consent-institution": "Demo Bank",
}
"""Headings of the pages to which the stage's links lead, by the link."""
ARRIVE = """async () => {
  const called = gradio_config.dependencies.find((each) => each.api_name === "arrive");
  const url = "gradio_api/call/arrive", data = called.inputs.slice(1).map(() => "");
  const init = {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({data}),
  };
  const {event_id} = await (await fetch(url, init)).json();
  return (await fetch(`${url}/${event_id}`)).text();
}"""
"""Asks for what a page shows when it is opened, all fields of which are empty."""


@pytest.mark.parametrize("link", OTHER_PAGES)
def test_stage_leads_to_other_pages(narrow, demo, link):
    """Pages are not drawn, as in test_compliance.py and test_consent_pages.py at both widths."""
    port = demo.consent_ports.get(link.removeprefix("consent-"), demo.compliance_port)
    wait_for_page(f"http://[::1]:{port}")
    scripts = f"http://[::1]:{port}/assets/**"
    narrow.page.context.route(scripts, lambda route: route.abort())
    with narrow.page.expect_popup() as opened:
        narrow.page.click(f"#{link}")
    page = opened.value
    page.wait_for_function("window.gradio_config")
    assert page.url == f"http://[::1]:{port}/"
    assert page.evaluate("opener") is None
    assert f"<h1>{OTHER_PAGES[link]}</h1>" in page.evaluate("JSON.stringify(gradio_config)")
    assert_names_no_other_host(page)
    if link == "compliance":
        assert "<tr data-entry" in page.evaluate(ARRIVE), "it may read the log"
    page.close()
    narrow.page.context.unroute(scripts)


def test_demo_refuses_requests_without_access(narrow, context, demo):
    """All parties have sent their records, none has agreed."""
    one = narrow
    one.strip_done(2)  # the stage, which reads the log from the server, has it too
    before = one.page.inner_text(".ts-log")
    near = attack(context, f"http://[::1]:{free_port()}")
    for port in [demo.page_port, *demo.agent_ports(len(one.names))]:
        stranger = attack(context, f"http://evil6.example:{port}")
        for path in READ:
            assert fetch(stranger, path)[0] == 421
        for name in ("agree_decide", "send", "join", "new_application", "tick"):
            assert fetch(stranger, f"/gradio_api/call/{name}", "POST", CALL)[0] == 421
        stranger.close()
        assert fetch(near, "/config", base=f"http://[::1]:{port}")[0] == 0
        called = f"http://[::1]:{port}/gradio_api/call/agree_decide"
        assert submit(context, called) == 403
    stranger = attack(context, f"http://evil6.example:{demo.server_port}")
    for path in SERVER_READ:
        assert fetch(stranger, path)[0] == 421
    assert fetch(stranger, "/applications", "POST", "{}")[0] == 421
    assert submit(context, f"http://[::1]:{demo.server_port}/applications") == 403
    step = {"client_id": ID_OF_NONE, "step": "decide"}
    for port in demo.agent_ports(len(one.names)):
        url = f"http://[::1]:{port}/demonstration"
        assert fetch(near, "", "POST", json.dumps(step), base=url)[0] == 0
        wrong = {"Authorization": "Bearer of somebody else"}
        for headers in ({}, wrong):
            answer = httpx.post(url, json=step, headers=headers, trust_env=False)
            assert answer.status_code == 401
    for page in (near, stranger):
        page.close()
    for name in one.names:  # no party has agreed meanwhile
        assert "No party has agreed yet" in one.text(name, ".ts-section:has(#agree-decide)")
    assert one.page.inner_text(".ts-log") == before


def test_unsent_change_blocks_agreement_and_run_can_be_cancelled(narrow, demo):
    """After all parties have sent their records, in a narrow window."""
    one = narrow
    bank = one.frame("bank")
    before = bank.locator("#field-Account_age input").input_value()
    bank.locator("#field-Account_age input").fill("77")
    bank.locator("text=Values changed since they were sent").wait_for()
    assert "Restore them" in one.why_not("bank", "#agree-decide")
    assert "open a new application" in one.why_not("bank", "#send")
    bank.locator("#field-Account_age input").fill(before)
    bank.locator("text=Values changed since they were sent").wait_for(state="detached")
    with demo.stuck():
        one.press("#agree-decide", ".ts-strip >> text=Running")
        one.page.wait_for_selector(".ts-strip >> text=Running")
        one.show("bank")
        bank.locator("text=All parties have agreed. Running on the server").wait_for()
        one.press("#cancel", "text=Computing the decision was cancelled", parties=["bank"])
    for name in one.names:
        one.frame(name).locator("#again").wait_for()
        assert not one.frame(name).locator("#cancel").is_visible()
        assert one.frame(name).locator(".ts-word").count() == 0
    check_accessible(one.page)  # with a message of each kind
    one.press("#again", ".ts-word", parties=["credit_agency"])
    for name in one.names:
        one.frame(name).locator(".ts-word").wait_for()
    log = one.page.inner_text(".ts-log")
    assert log.count("requests the decision\n") == 2
    assert "cancelled computing the decision" in log
    assert "The record is sent, and fixed" in one.why_not("bank", "#send")


def test_the_stage_plays_an_application_to_its_end(narrow, signs_oracle):
    """The rest of it: after the decision, which its parties have agreed to."""
    one, schema = narrow, narrow.schema
    record = signs_oracle.default()
    for party in schema.parties:
        if party.name == one.names[0]:
            record |= load_examples(schema)[0].of(party)
    one.page.click("#play:has-text('Play on')")
    one.page.wait_for_selector("#next:disabled[title*='pause it']")
    one.page.wait_for_selector(".ts-sticky >> text=Finished.")
    explanation = signs_oracle.explanation(record)
    owner = schema.explained_party
    one.frame(owner).locator(".ts-says").first.wait_for()
    assert one.text(owner, ".ts-says") == explanation.text
    reasons = one.frame(one.names[0]).locator(".ts-reasons li")
    if signs_oracle.score(record) < 0:
        reasons.first.wait_for()
    else:
        assert reasons.count() == 0
    one.page.wait_for_selector("#play >> text=Play again")
    assert one.page.locator("#example input").first.is_enabled()
    for title in ("What has travelled", "Other pages"):
        one.page.get_by_label(f"Show: {title}").uncheck(force=True)
    assert_all_fit(one, beside=False)
    for name in one.names:  # nothing scrolls in a frame on a phone, since the form has gone
        one.show(name)
        box = one.page.locator(f'iframe[data-agent="{name}"]').bounding_box()
        assert one.frame(name).locator("#agent-end").bounding_box()["y"] <= box["y"] + box["height"]
        assert not one.frame(name).locator(".ts-fields").is_visible()
        assert "The values are on the page" in one.text(name, ".ts-on-phone")


def test_party_whose_process_dies_is_started_again_and_its_frame_says_so(narrow, demo):
    """After the decision."""
    one, figure = narrow, narrow.page.locator('figure[data-party="bank"]')
    before = one.text("bank", ".ts-print code")
    (bank,) = [pid for pid in demo.family() if "--party bank " in demo.command(pid)]
    os.kill(bank, signal.SIGKILL)
    note = figure.locator(".ts-absent")
    note.wait_for()
    assert "The bank's process has ended" in note.inner_text()
    assert not note.locator("code").is_visible()  # it is for the person who runs the process
    note.locator("summary").click()
    command = note.locator("code").inner_text()
    assert command
    assert_fits(one.page)
    for _ in range(8):  # the notes are looked at twice meanwhile, if the bank is away for so long
        assert one.page.locator(".ts-absent").count() <= 1, "of the other parties there is none"
        one.page.wait_for_timeout(150)
    script = Path(command.removeprefix("sh "))
    assert script.stat().st_mode & 0o777 == 0o600
    assert one.url("bank").split("token=")[1].split("&")[0] in script.read_text()
    note.wait_for(state="detached")
    one.frame("bank").locator(".ts-word").wait_for()
    assert one.text("bank", ".ts-print code") == before
    assert "The bank's process has ended (killed by SIGKILL)" in demo.log()
    demo.wait_until(lambda: bool(agents_named(demo, "bank")))
    (agent,) = agents_named(demo, "bank")
    assert "--trust" in agent and "--new" not in agent


def agents_named(demo, party):
    """Return the command lines of the agents of a party that run."""
    commands = [demo.command(pid) for pid in demo.family()]
    return [command for command in commands if f"-m parties --party {party} " in command]


def test_stage_without_the_parties_processes_opens_no_application(
    demo, context, tmp_path, signs_deployment
):
    """The stage of another process, whose server is that of the demonstration."""
    server = SimpleNamespace(url=f"http://[::1]:{demo.server_port}", deployment=signs_deployment)
    before = demo.logged().count('"path": "/applications"')
    alone = LivePage(tmp_path, server, agent_port=free_ports(3))
    try:
        printed = alone.log()
        absent = "the processes of the applicant, the bank and the credit agency do not run"
        assert absent in printed
        assert "-m parties --party bank" in printed and "make demo" in printed
        page = context.new_page()
        page.goto(alone.link)
        for party in ("applicant", "bank", "credit_agency"):
            note = page.locator(f'figure[data-party="{party}"] .ts-absent')
            note.locator("summary").click()
            note.locator(f"text=-m parties --party {party}").wait_for()
        page.click("#new")
        refusal = page.locator(".ts-told >> text=No application was opened")
        refusal.wait_for()
        assert absent in refusal.inner_text() and not is_technical(refusal.inner_text())
        assert page.locator("iframe").count() == 0
        page.close()
    finally:
        alone.stop()
    assert demo.logged().count('"path": "/applications"') == before > 0


def test_every_party_has_its_own_process_and_ctrl_c_stops_all(demo, schema):
    """The last test on this demonstration."""
    said = demo.log()
    assert re.search(rf"Server +http://\[::1\]:{demo.server_port} ", said)
    assert f"open http://[::1]:{demo.page_port}/?token=" in said
    # A test has killed a process, and a browser's library misses a desktop on a test machine.
    passed_over = ("SIGKILL", "XDG_RUNTIME_DIR")
    printed = [
        line for line in said.splitlines() if line and not any(word in line for word in passed_over)
    ]
    assert len(printed) <= 10 and not [line for line in printed if line.startswith("{")]
    assert printed[-1].startswith("Triseal is ready: open ")
    assert demo.logged().count('"message": "request"') > 100
    with opened_link(demo.link) as client:
        for port in demo.agent_ports(len(schema.party_names)):
            assert f" http://[::1]:{port}\n" in said
            refused = client.get(f"http://[::1]:{port}")
            assert refused.status_code == 403 and "with its link" in refused.text
    family = demo.family()
    commands = [demo.command(pid) for pid in family]
    words = " ".join(commands).replace("--token-file", "").replace("/partner_token", "")
    assert "token" not in words  # other users of the machine can read them
    agents = [command for command in commands if "-m parties --party" in command]
    assert all("/trust" in agent for agent in agents)
    assert len(agents) == len(schema.party_names)
    for name in schema.party_names:
        assert [f"--party {name} " in agent for agent in agents].count(True) == 1
    demo.send(signal.SIGINT)
    assert demo.join(30) == 0
    until(lambda: not alive(family))  # the process that the pages are copies of ends by itself
