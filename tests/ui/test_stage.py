"""The stage and the parties' own pages, as `make demo` starts them, in a real browser.

The demonstration listens on IPv6. The first half of the tests reaches it by an IPv4 address,
through a relay; the second half by its own address, and attacks it from foreign pages in the same
browser.
"""

import signal
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from engines.interface import REASONS
from engines.levelled.server import LevelledServer
from governance.log.decision_file import DecisionFile
from model.explanation import Outcome
from model.reasons import principal_reasons
from parties.client import ServerClient
from parties.joint.codes import open_joint
from tests.parties.running import Oracle, until
from tests.ui.conftest import chromium_with
from tests.ui.demos import Demo, alive, relayed_from_ipv4
from tests.ui.foreign import (
    CALL,
    NAMED_BY_STRANGERS,
    READ,
    SERVER_READ,
    attack,
    fetch,
    submit,
)
from tests.ui.links import opened as opened_link
from tests.ui.test_page import assert_fits
from training.opened import opened_values
from ui.waiting import wait_for_page
from utils.ports import free_port

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
    """The stage in a new browser session."""

    def __init__(self, context, demo, schema, host, size, scheme):
        self.schema, self.names = schema, schema.party_names
        self.page = context.new_page()
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(40_000)
        self.asked, self.referrers = [], []
        self.page.on("request", self._note)
        link = urlsplit(demo.link)
        self.page.goto(link._replace(netloc=f"{host}:{link.port}").geturl())
        self.page.wait_for_selector("#new")

    def _note(self, request):
        self.asked.append(request.url)
        self.referrers.append(request.headers.get("referer"))

    def frame(self, party):
        return self.page.frame_locator(f'iframe[data-agent="{party}"]')

    def url(self, party):
        return self.page.locator(f'iframe[data-agent="{party}"]').get_attribute("src")

    def open(self, readers=None):
        for name in self.names:
            wanted = readers is None or name in readers
            label = self.schema.party(name).label
            for group in ("#readers", "#explanation-readers"):
                self.page.locator(group).get_by_label(label, exact=True).set_checked(wanted)
        self.page.click("#new")
        for name in self.names:
            self.frame(name).locator(".ts-print").wait_for()
        return self

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
                    label = column.bin_labels()[reached]
                    frame.locator(f'ul[role="listbox"] li[aria-label="{label}"]').click()
        return self

    def press(self, button, done, parties=None):
        """Press a button in every frame, and wait for a selector in every frame."""
        for name in parties or self.names:
            self.frame(name).locator(button).click()
        for name in parties or self.names:
            self.frame(name).locator(done).first.wait_for()
        return self

    def send(self):
        return self.press("#send", ".ts-strip li.done:nth-child(3)")

    def decide(self):
        return self.press("#agree-decide", ".ts-word")

    def text(self, party, selector):
        return self.frame(party).locator(selector).first.inner_text().strip()

    def told(self, party, button):
        """Return the message below a button of a party's page whose step cannot be taken.

        Waits some seconds for it to replace an earlier message.
        """
        section = self.frame(party).locator(f".ts-section:has({button})")
        message = section.locator(".ts-told")
        before = message.all_inner_texts()
        section.locator(button).click()
        for _ in range(50):
            if message.all_inner_texts() not in ([], before):
                break
            self.page.wait_for_timeout(100)
        return message.inner_text()

    def strip_done(self, number):
        self.page.wait_for_selector(f".ts-strip li.done:nth-child({number})")


@contextmanager
def opened_stage(context, demo, schema, host, size, scheme):
    """Yield a stage with a new application; before it, the stage loads no party's page."""
    one = Stage(context, demo, schema, host, size, scheme)
    for port in demo.agent_ports(len(one.names)):
        one.page.wait_for_selector(f".ts-frames >> text=own process, {host}:{port}")
    assert_fits(one.page)
    assert one.page.locator("iframe").count() == 0
    one.open()
    assert all(one.url(party).startswith(f"http://{host}:") for party in one.names)
    yield one
    one.page.close()


@pytest.fixture(scope="module")
def wide(context, demo, schema):
    with opened_stage(context, demo, schema, "127.0.0.1", (1280, 900), "light") as one:
        yield one


@pytest.fixture(scope="module")
def narrow(context, demo, schema):
    with opened_stage(context, demo, schema, "[::1]", (390, 900), "dark") as one:
        yield one


def assert_as_high_as_its_page(page, name, frame):
    """Nothing is cut off, and nothing scrolls inside, once the page has told its new height."""
    for _ in range(40):
        box = page.locator(f'iframe[data-agent="{name}"]').bounding_box()
        end = frame.evaluate("document.getElementById('agent-end').getBoundingClientRect().bottom")
        if end <= box["height"] <= end + 60:
            return
        page.wait_for_timeout(250)
    assert end <= box["height"] <= end + 60


def assert_all_fit(one, beside):
    """The stage and the parties' pages on it, `beside` each other or one below the other."""
    assert_fits(one.page)
    tops = []
    for name in one.names:
        box = one.page.locator(f'iframe[data-agent="{name}"]').bounding_box()
        tops.append(round(box["y"]))
        frame = next(f for f in one.page.frames if f.url.startswith(one.url(name).split("?")[0]))
        assert_fits(frame)
        assert_as_high_as_its_page(one.page, name, frame)
    assert (max(tops) - min(tops) < 60) is beside


def test_codes_and_tokens_stay_out_of_referrers_and_logs(wide, demo):
    one = wide
    assert one.referrers and not any(one.referrers)
    asked = [dict(parse_qsl(urlsplit(one.url(name)).query)) for name in one.names]
    secrets = [value for query in asked for value in (query["token"], query["join"])]
    assert len(set(secrets)) == 2 * len(one.names)
    printed = demo.log()
    assert not [secret for secret in secrets if secret in printed]
    framed = [frame.url for frame in one.page.frames[1:]]
    assert len(framed) == len(one.names) and not [url for url in framed if "token" in url]


def test_each_page_offers_its_steps_by_name(wide, demo):
    named = []
    for port in [demo.page_port, *demo.agent_ports(len(wide.names))]:
        answer = wide.page.context.request.get(f"http://127.0.0.1:{port}/gradio_api/info")
        named.append(set(answer.json()["named_endpoints"]))
    assert "/new_application" in named[0]
    for found in named[1:]:
        assert {"/join", "/send", "/agree_decide", "/agree_explain"} <= found


def test_an_application_opened_elsewhere_can_be_watched(wide, demo, schema):
    with ServerClient(f"http://[::1]:{demo.server_port}", 30) as client:
        other = open_joint(client)
        first = schema.party_names[0]
        client.join(other.client_id, first, other.codes[first].split(".")[1])
        page = wide.page.context.new_page()
        watch = f"?watch={other.client_id}.{other.watch_token}"
        page.goto(f"http://127.0.0.1:{demo.page_port}/{watch}")  # as it is printed
        page.wait_for_selector("text=opened elsewhere")
        page.wait_for_selector(".ts-strip >> text=Join 1/3")
        assert page.locator("iframe").count() == 0
        token = client.join(other.client_id, "bank", other.codes["bank"].split(".")[1]).token
        page.wait_for_selector(".ts-strip >> text=Join 2/3")
        client.erase(other.client_id, token)
        page.wait_for_selector("text=it has been erased")
        page.close()


def test_out_of_domain_value_shows_its_domain(wide):
    wide.frame("applicant").locator("#field-Age input").fill("17")
    assert "Age cannot be '17': give a number from 18 to 120" in wide.told("applicant", "#send")


def test_contradicting_values_are_refused_on_their_fields_until_they_are_corrected(wide):
    frame = wide.frame("applicant")
    frame.locator("#field-Age input").fill("43")
    frame.locator("#field-Num_children input").fill("5")
    frame.locator("#field-Household_size input").fill("1")
    assert wide.told("applicant", "#send") == (
        "The household counts the applicant as well, so it has more people than children. Correct "
        "Children or Household size, then go on."
    )
    outline = "element => getComputedStyle(element).outlineStyle"
    fields = {name: frame.locator(f"#field-{name}") for name in ("Num_children", "Household_size")}
    assert [field.evaluate(outline) for field in fields.values()] == ["solid", "solid"]
    assert frame.locator("#field-Age").evaluate(outline) == "none"
    fields["Household_size"].locator("input").fill("5")
    wide.page.wait_for_timeout(1000)
    assert frame.locator(".ts-told").count() == 1
    fields["Household_size"].locator("input").fill("6")
    frame.locator(".ts-told").wait_for(state="detached")
    assert fields["Num_children"].evaluate(outline) == "none"
    assert frame.locator(".ts-strip li.done:nth-child(3)").count() == 0


def test_example_fills_only_its_own_form(wide):
    age = wide.frame("applicant").locator("#field-Age input")
    before = age.input_value()
    wide.frame("bank").locator("text=Young, first account").click()
    account_age = wide.frame("bank").locator("#field-Account_age input")
    for _ in range(50):
        if account_age.input_value() == "2":
            break
        wide.page.wait_for_timeout(100)
    assert account_age.input_value() == "2"
    assert age.input_value() == before


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
    alone.close()


def test_all_steps_from_keys_to_explanation(wide, demo, schema, signs_oracle, turned):
    """The bank has sent its record already."""
    one, record = wide, turned
    prints = {one.text(name, ".ts-print code") for name in one.names}
    assert len(prints) == 1
    key_of = {
        (party, label): one.text(party, f".ts-facts div:has-text('{label}') dd")
        for party, label in (("applicant", "Bank"), ("bank", "Applicant"), ("bank", "Own identity"))
    }
    assert key_of["applicant", "Bank"] == f"pinned, key {key_of['bank', 'Own identity']}"
    assert key_of["bank", "Applicant"].startswith("not pinned")
    one.fill(signs_oracle, record).send()
    one.strip_done(4)
    one.decide()
    for name in one.names:
        assert one.text(name, ".ts-word") == "Denied"
        assert "without a score" in one.text(name, ".ts-decision")
        assert not any(character.isdigit() for character in one.text(name, ".ts-decision"))
    one.press("#agree-explain", ".js-plotly-plot .bars .point")
    one.strip_done(6)
    owner = schema.explained_party
    explanation = signs_oracle.explanation(record)
    assert one.text(owner, ".ts-says") == explanation.text
    for name in one.names:
        tiles = one.frame(name).locator(".js-plotly-plot .bars .point text").all_text_contents()
        assert tiles == ["✓" if score >= 0 else "✕" for score in explanation.scores]
        marks = one.frame(name).locator(".js-plotly-plot .xaxislayer-above").text_content()
        assert ("now" in marks) is (name == owner)
    one.press("#agree-reasons", ".ts-reasons li, .ts-says:has-text('learns the reasons')")
    one.strip_done(7)
    model = LevelledServer(signs_oracle.deployment).public
    levels = opened_values(model, REASONS, signs_oracle.points(record))
    principal = [reason.text for reason in principal_reasons(schema, levels)]
    assert one.frame("applicant").locator(".ts-reasons li").all_inner_texts() == principal
    for name in one.names[1:]:
        assert one.frame(name).locator(".ts-reasons").count() == 0
        told = one.frame(name).locator(".ts-says:has-text('reasons')").inner_text()
        assert told == "Done. Only the applicant learns the reasons."
    assert_all_fit(one, beside=True)
    one.page.set_viewport_size({"width": 390, "height": 900})
    assert_all_fit(one, beside=False)  # with the plots
    log = one.page.inner_text(".ts-log")
    assert "commits to its encrypted record" in log and "its encrypted record" in log
    assert "confirms the encrypted result" in log
    assert "has computed the explanation" in log
    assert "its encrypted mask of the score" in log and "the masked scores" in log
    assert "has computed the explanation's signs" in log
    assert "has signed the decision" in log and "has signed the explanation" in log
    card = one.page.locator('[data-witness="Auditor"]', has_text=": signed")
    card.filter(has_text="the levels of the reasons of").wait_for()
    with one.page.expect_download() as download:
        one.frame("bank").locator("#decision-file").click()
    file = DecisionFile.parse(Path(download.value.path()).read_bytes())
    assert len(file.grants) == len(one.names) and "— Auditor " in file.checkpoint
    ports = {demo.page_port, *demo.agent_ports(len(one.names))}
    hosts = {url.split("/")[2] for url in one.asked if "://" in url}
    assert hosts == {f"127.0.0.1:{port}" for port in ports}  # nothing from elsewhere
    assert "Traceback" not in demo.log()


def test_browser_sessions_are_separate(wide, narrow):
    """The last test on the wide stage."""
    assert wide.text("bank", ".ts-print code") != narrow.text("bank", ".ts-print code")
    assert "Send 0/3" in narrow.page.inner_text(".ts-strip")
    assert "Send 0/3" not in wide.page.inner_text(".ts-strip")
    wide.page.close()  # its pages would go on asking for news


def test_steps_out_of_order_name_missing_steps(narrow):
    one = narrow
    first = one.names[0]
    assert "still to be sent" in one.told(first, "#agree-decide")
    one.press("#send", ".ts-hex code", parties=one.names[1:])
    one.frame(one.names[1]).locator(".ts-strip >> text=Send 2/3").wait_for()
    assert "still to be sent: applicant." in one.told(one.names[1], "#agree-decide")
    one.press("#send", ".ts-strip li.done:nth-child(3)", parties=[first])
    assert "open the decision first" in one.told(first, "#agree-explain")


def test_stage_leads_to_the_compliance_page(narrow, demo):
    wait_for_page(f"http://[::1]:{demo.compliance_port}")
    with narrow.page.expect_popup() as opened:
        narrow.page.click("#compliance")
    page = opened.value
    page.wait_for_selector("tr[data-entry]", timeout=40_000)
    assert page.url == f"http://[::1]:{demo.compliance_port}/"
    assert page.evaluate("opener") is None
    assert page.inner_text("h1") == "Compliance"
    assert_fits(page)
    page.close()


@pytest.mark.parametrize(("kind", "name"), [("owner", "Ana"), ("institution", "Demo Bank")])
def test_stage_leads_to_the_pages_about_consent(narrow, demo, kind, name):
    """The page is not drawn, which test_consent_pages.py does at both widths."""
    port = demo.consent_ports[kind]
    wait_for_page(f"http://[::1]:{port}")
    scripts = f"http://[::1]:{port}/assets/**"
    narrow.page.context.route(scripts, lambda route: route.abort())
    with narrow.page.expect_popup() as opened:
        narrow.page.click(f"#consent-{kind}")
    page = opened.value
    page.wait_for_function("window.gradio_config")
    assert page.url == f"http://[::1]:{port}/"
    assert page.evaluate("opener") is None
    assert f"<h1>{name}</h1>" in page.evaluate("JSON.stringify(gradio_config)")
    page.close()
    narrow.page.context.unroute(scripts)


def test_demo_refuses_requests_without_access(narrow, context, demo):
    """All parties have sent their records, none has agreed."""
    one = narrow
    one.strip_done(4)  # the stage, which reads the log from the server, has it too
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
    assert "Restore the values that were sent" in one.told("bank", "#agree-decide")
    assert "open a new application" in one.told("bank", "#send")
    bank.locator("#field-Account_age input").fill(before)
    bank.locator("text=Values changed since they were sent").wait_for(state="detached")
    with demo.stuck():
        one.press("#agree-decide", ".ts-strip >> text=Running")
        one.page.wait_for_selector(".ts-strip >> text=Running")
        bank.locator("text=All parties have agreed. Running on the server").wait_for()
        one.press("#cancel", "text=Computing the decision was cancelled", parties=["bank"])
    for name in one.names:
        one.frame(name).locator("#again").wait_for()
        assert not one.frame(name).locator("#cancel").is_visible()
        assert one.frame(name).locator(".ts-word").count() == 0
    one.press("#again", ".ts-word", parties=["credit_agency"])
    for name in one.names:
        one.frame(name).locator(".ts-word").wait_for()
    log = one.page.inner_text(".ts-log")
    assert log.count("requests the decision\n") == 2
    assert "cancelled computing the decision" in log
    assert "committed to its record" in one.told("bank", "#send")
    assert_all_fit(one, beside=False)


def test_every_party_has_its_own_process_and_ctrl_c_stops_all(demo, schema):
    """The last test on this demonstration."""
    said = demo.log()
    assert f"listens at http://[::1]:{demo.server_port}" in said
    assert f"open http://[::1]:{demo.page_port}/?token=" in said
    with opened_link(demo.link) as client:
        for port in demo.agent_ports(len(schema.party_names)):
            assert f"at http://[::1]:{port}" in said
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
