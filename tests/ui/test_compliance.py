"""The compliance page with a real server, real calls and a real browser; and its feed alone."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import LogLines
from governance.log.checkpoint import Checkpoint, cosignature, sign_checkpoint
from settings import Settings
from tests.parties.running import standing_still
from tests.service.driver import Server
from tests.service.governance.test_gateway import OWNERS, Gateway, hex_of
from tests.ui.accessible import check_accessible
from tests.ui.conftest import chromium_with, without_plots
from tests.ui.links import printed_link
from tests.ui.test_page import assert_fits
from ui.compliance import panels
from ui.compliance.charts import MOST_BARS, plots_of
from ui.compliance.feed import MOST_KEPT, REFRESH_SECONDS, Feed, News
from ui.compliance.filters import Filters
from ui.compliance.operator_client import PAGE_LINES, OperatorClient, token_of
from ui.compliance.page import TICK_SECONDS
from ui.places import compliance_link
from ui.waiting import wait_for_page
from utils.child_process import ChildProcess
from utils.errors import NotAuthorised, ProofInvalid
from utils.hosts import Authority
from utils.ports import free_port

TICK_MILLISECONDS = int(TICK_SECONDS * 1000) + 1000
ROW = "tr[data-entry]"
AT_WORK = '[data-testid="status-tracker"]:not(.hide)'


class LogServer:
    """A server's log as its transport: lines may be added, and its calls are counted."""

    def __init__(self, size):
        self.lines = [self.line(i) for i in range(size)]
        self.status, self.asked = 200, []

    @staticmethod
    def line(index, kind="decision", user="anna_1"):
        return {
            "index": index,
            "time": "2026-11-29T09:00:00Z",
            "kind": kind,
            "status": "denied",
            "partner_id": "<b>bank</b>",
            "user_id": user,
            "application": None,
            "erased": user is None,
            "details": {"reason": "<script>1</script> of anna_1", "fields": ["<i>"]},
            "person": "ab" * 32,
        }

    def add(self, kind="decision"):
        self.lines.append(self.line(len(self.lines), kind))

    def __call__(self, request):
        self.asked.append(str(request.url.copy_with(scheme=None, host=None, port=None)))
        if self.status != 200:
            return httpx.Response(self.status)
        if request.url.path == "/log":
            key = "ab" * 32
            names = dict.fromkeys(("key", "permit_key"), key)
            size = len(self.lines)
            log = {"origin": "x", "verifier_key": "x", "cosigners": {}, "size": size}
            return httpx.Response(200, json=log | names)
        limit, offset = (int(request.url.params[name]) for name in ("limit", "offset"))
        items = self.lines[::-1][offset : offset + limit]
        return httpx.Response(200, content=LogLines(items=items).model_dump_json())


@pytest.fixture
def log():
    return LogServer(3)


@pytest.fixture
def feed(log):
    now = [0.0]
    client = OperatorClient("http://log.test", 5, lambda: "token", httpx.MockTransport(log))
    made = Feed(client, clock=lambda: now[0])

    def later():
        now[0] += REFRESH_SECONDS
        return made.look()

    made.later = later
    return made


def test_many_tabs_ask_once_and_only_for_new_lines(feed, log):
    for _ in range(50):
        assert len(feed.look().entries) == 3
    assert [path.partition("?")[0] for path in log.asked] == ["/log", "/logs"]
    log.asked.clear()
    first = feed.later()
    assert log.asked == ["/log"] and first.serial == feed.look().serial
    log.add()
    assert [entry.line.index for entry in feed.later().entries] == [3, 2, 1, 0]
    assert log.asked[-1] == "/logs?limit=1&offset=0"


def test_long_log_is_read_in_pages_and_bounded():
    log = LogServer(MOST_KEPT + 30)
    client = OperatorClient("http://log.test", 5, lambda: "token", httpx.MockTransport(log))
    news = Feed(client).look()
    assert len(news.entries) == MOST_KEPT and news.size == MOST_KEPT + 30
    assert len(log.asked) == 1 + MOST_KEPT // PAGE_LINES
    assert "A report covers any period" in panels.entries_table([e.row for e in news.entries], news)


def test_erasure_makes_the_feed_forget_what_it_has_read(feed, log):
    assert feed.look().entries[0].line.user_id == "anna_1"
    log.lines = [log.line(i, user=None) for i in range(3)]
    assert feed.later().entries[0].line.user_id == "anna_1", "the control: nothing is new"
    log.add("erasure")
    assert {e.line.user_id for e in feed.later().entries if e.line.kind != "erasure"} == {None}


def test_shorter_log_is_an_alarm_that_stays(feed, log):
    feed.look()
    log.lines.pop()
    assert "3 entries before, 2 now" in feed.later().problem
    assert "3 entries before, 2 now" in feed.later().problem
    assert len(feed.look().entries) == 3


def test_server_that_is_gone_is_named_and_the_lines_stay(feed, log):
    feed.look()
    log.status = 502
    news = feed.later()
    assert "try again soon" in news.problem and len(news.entries) == 3
    log.status = 200
    assert feed.later().problem == ""


def test_filters_narrow_and_everything_is_escaped(feed):
    entries, now = feed.look().entries, datetime(2026, 11, 29, 9, 30, tzinfo=UTC)

    def count(**wanted):
        return len(Filters(**wanted).matching(entries, now))

    assert count() == count(partner="<b>bank</b>") == count(kind="decision") == 3
    assert count(person="ABAB") == count(person="anna_1") == count(person="ab" * 32) == 3
    assert count(person="anna") == count(person="x") == count(partner="bank") == 0
    assert count(time="Last hour") == 3 and count(status="allowed") == 0
    late = datetime(2026, 11, 29, 10, 1, tzinfo=UTC)
    assert Filters(time="Last hour").matching(entries, late) == []
    shown = panels.entries_table([entry.row for entry in entries], feed.look())
    assert "anna_1" not in shown and "<script>" not in shown and "<b>" not in shown
    assert "&lt;b&gt;bank&lt;/b&gt;" in shown and "<i>" not in shown
    assert "No entry matches" in panels.entries_table([], feed.look())
    use = replace(entries[0].row, kind="use", action="decide_sign")
    assert "use: the decision&#x27;s sign" in panels.entries_table([use], feed.look())
    plots = plots_of([entry.row for entry in entries])
    for sent, table in zip(plots[::2], plots[1::2], strict=True):
        layout = json.loads(sent.plot)["layout"]
        assert layout["xaxis"]["title"]["text"] and layout["yaxis"]["title"]["text"]
        assert "<td>3</td>" in table and "<b>" not in table and "<i>" not in table
    assert plots_of([])[1::2] == ["", "", ""]
    assert "The log is empty" in panels.entries_table([], News())


@pytest.fixture
def checkpoint():
    """Return a client of a log whose checkpoint of 7 entries is `note`, which may be replaced."""
    log_key, witness = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    note = sign_checkpoint(Checkpoint("test.example/log", 7, b"r" * 32), log_key)
    line = cosignature(note.body, "Auditor", witness, 1_800_000_000)
    facts = {
        "origin": "test.example/log",
        "size": 9,
        "key": hex_of(log_key),
        "verifier_key": "x",
        "permit_key": hex_of(log_key),
        "cosigners": {"Auditor": hex_of(witness)},
    }

    def answer(request):
        if request.url.path == "/log":
            return httpx.Response(200, json=facts)
        return httpx.Response(200, text=answer.note)

    answer.note = note.with_lines([line]).text()
    client = OperatorClient("http://log.test", 5, lambda: "t", httpx.MockTransport(answer))
    return client, answer


def test_cosignatures_are_verified_here_too(checkpoint):
    client, answer = checkpoint
    found = client.cosigned()
    assert (found.size, found.root) == (7, (b"r" * 32).hex())
    assert found.by == {"Auditor": "2027-01-15T08:00:00Z"}
    answer.note = answer.note.replace("\n7\n", "\n8\n")
    with pytest.raises(ProofInvalid):
        client.cosigned()


def test_stage_links_to_the_page_under_the_name_that_was_called():
    token = "t" * 43
    assert compliance_link(Settings(_env_file=None)) is None
    given = Settings(_env_file=None, compliance_token=token, compliance_port=7999)
    assert compliance_link(given) == f"http://127.0.0.1:7999/?token={token}"
    called = compliance_link(given, Authority("localhost", 7860))
    assert called == f"http://localhost:7999/?token={token}"


class Compliance:
    """The page's process, its server with partners and owners, and a browser."""

    def __init__(self, gateway, page, browser):
        self.gateway, self.page, self.browser = gateway, page, browser
        self.context = browser.new_context()  # of all pages, so that they share what they load
        self.link = printed_link(page.log())

    def open(self, width=1280, scheme="light", clock=False):
        """Open the page; with a `clock`, which a test sets, it loads no plots."""
        page = (self.browser.new_context() if clock else self.context).new_page()
        if clock:
            page.clock.install()
            without_plots(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(40_000)
        page.goto(self.link)
        page.wait_for_selector(ROW)
        return page


@pytest.fixture(scope="module")
def compliance(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compliance")
    agents = {
        user: {"key": hex_of(key), "host": "127.0.0.1", "port": 5001}
        for user, key in OWNERS.items()
    }
    server = Server(folder / "data", owners=json.dumps(agents)).wait()
    gateway = Gateway(server)
    gateway.say("granted")
    gateway.use(gateway.permit(requested_data=["income", "name"]))
    gateway.ask(purpose="dpv:Marketing")
    gateway.ask("shop_1")
    port = free_port()
    page = ChildProcess(
        ["-m", "ui.compliance", "--port", str(port)],
        folder / "page.log",
        {"server_url": server.url, "server_data": server.data},
    )
    page.start()
    try:
        wait_for_page(f"http://127.0.0.1:{port}")
        with chromium_with() as browser:
            yield Compliance(gateway, page, browser)
        assert "Traceback" not in page.log()
    finally:
        page.stop()
        server.stop()


@pytest.fixture(scope="module")
def page(compliance):
    return compliance.open()


def choose(page, elem_id, label):
    page.click(f"#{elem_id} input")
    page.click(f'ul[role="listbox"] li[aria-label="{label}"]')


def texts(page, column):
    return page.locator(f'{ROW} td[data-who="{column}"]').all_inner_texts()


def wait_for_rows(page, count):
    page.wait_for_function(f"document.querySelectorAll('{ROW}').length === {count}")


def test_page_shows_what_was_asked_allowed_and_denied(compliance, page):
    logged = compliance.gateway.logs()
    assert {line["user_id"] for line in logged} == {"user_1", None}, "the operator may read it"
    assert page.locator(ROW).count() == len(logged)
    assert "✓ allowed" in texts(page, "Outcome") and "✕ denied" in texts(page, "Outcome")
    (denial,) = [why for why in texts(page, "Why") if "no-marketing" in why]
    assert "not used for marketing" in denial
    page.wait_for_selector(".js-plotly-plot .bars .point", state="attached")
    assert page.locator(".modebar").count() == 0
    page.locator(".ts-data summary").first.click()
    assert page.locator(".ts-data").first.locator("tbody tr").count() == MOST_BARS
    assert "user_1" not in page.content(), "people appear as pseudonyms only"
    alias = next(line["person"] for line in logged if line["user_id"])[:12]
    assert alias in texts(page, "Person")
    page.wait_for_selector(".ts-rules tbody tr")
    assert "20-partners.cedar" in page.inner_text(".ts-rules")
    assert_fits(page)


def test_new_entries_appear_and_filters_narrow(compliance, page):
    before = page.locator(ROW).count()
    compliance.gateway.ask("shop_1")
    wait_for_rows(page, before + 1)
    choose(page, "filter-partner", "shop_1")
    wait_for_rows(page, 2)
    assert texts(page, "Partner") == ["shop_1", "shop_1"]
    page.fill("#filter-person input", "user_2")
    page.wait_for_selector("text=No entry matches these filters.")
    page.fill("#filter-person input", "user_1")
    wait_for_rows(page, 2)
    page.fill("#filter-person input", "")
    choose(page, "filter-partner", "Any partner")
    choose(page, "filter-status", "allowed")
    page.wait_for_function(
        "[...document.querySelectorAll('td[data-who=\"Outcome\"]')]"
        ".every(cell => cell.innerText.includes('allowed'))"
    )
    choose(page, "filter-status", "Any outcome")
    wait_for_rows(page, before + 1)


def test_hidden_tab_asks_for_nothing(compliance):
    page, asked, under_way = compliance.open(clock=True), [], set()
    page.on("request", lambda request: (asked.append(request.url), under_way.add(request)))
    for ended in ("requestfinished", "requestfailed"):
        page.on(ended, lambda request: under_way.discard(request))
    with page.expect_response(lambda answer: "queue/join" in answer.url):
        page.clock.fast_forward(TICK_MILLISECONDS)  # the control
    stop = page.evaluate(
        "gradio_config.dependencies.findIndex(each => each.api_name === 'stop_timer')"
    )
    with page.expect_request_finished(
        lambda request: "queue/join" in request.url and request.post_data_json["fn_index"] == stop
    ):
        page.evaluate("""() => {
            Object.defineProperty(document, "hidden", {value: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""")
    for _ in range(400):  # until its answer and those to earlier calls have arrived
        page.wait_for_timeout(50)
        if not under_way:
            break
    asked.clear()
    for _ in range(10):
        page.clock.fast_forward(TICK_MILLISECONDS)
        page.evaluate("fetch('config', {method: 'HEAD'})")  # what was asked before has arrived
    paths = {urlsplit(url).path.rpartition("/")[2] for url in asked}
    # The stream with the answer to an earlier question may be opened late.
    assert "config" in paths and paths <= {"config", "data"}
    page.context.close()


def test_audit_and_downloads_of_a_report(compliance, page):
    with standing_still([psutil.Process(compliance.gateway.server.pid)]):
        page.click("#audit")
        page.wait_for_selector(f"{AT_WORK} >> text=/[1-9][.][0-9]s/")  # its clock runs
    page.wait_for_selector(".ts-same")
    assert "none yet" in page.inner_text(".ts-doing .ts-panel")
    make_report(page, "pseudonyms")
    files = {kind: downloaded(page, kind) for kind in ("pdf", "csv")}
    assert files["pdf"].startswith(b"%PDF-") and files["pdf"].rstrip().endswith(b"%%EOF")
    assert "user_1" not in files["csv"].decode()
    rows = list(csv.DictReader(io.StringIO(files["csv"].decode(), newline="")))
    entries = [row for row in rows if row["section"] == "entry"]
    assert len(entries) == len(compliance.gateway.logs(limit=500))
    (kept,) = [row for row in rows if row["section"] == "retention"]
    assert (kept["partner"], kept["retention_days"]) == ("bank_1", "90")
    page.check("#names input")
    make_report(page, "user ids")
    assert "user_1" in downloaded(page, "csv").decode()
    check_accessible(page)  # with an audit and a report
    page.uncheck("#names input")
    page.fill("#first-day input", "yesterday")
    page.click("#make-report")
    page.wait_for_selector(".ts-reported >> text=as in 2026-11-29")


def make_report(page, words):
    page.click("#make-report")
    page.wait_for_selector(f".ts-reported dl:has-text('{words}')")


def downloaded(page, kind):
    with page.expect_download() as started:
        page.click(f"#report-{kind}")
    return started.value.path().read_bytes()


def test_page_fits_into_a_narrow_window(compliance, page):
    """Loaded as a narrow, dark page; and the light one, made narrow."""
    dark = compliance.open(390, "dark")
    page.set_viewport_size({"width": 390, "height": 900})
    for each in (dark, page):
        each.wait_for_selector(".ts-rules tbody tr")
        assert_fits(each)
        assert each.evaluate("document.documentElement.scrollHeight") < 5000
    dark.close()
    check_accessible(page)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_page_needs_its_link(compliance):
    address = compliance.link.split("?")[0]
    assert httpx.get(address, trust_env=False).status_code == 403
    assert httpx.get(f"{address}config", trust_env=False).status_code == 403


def test_wrong_or_missing_token_is_named(compliance, tmp_path):
    server = compliance.gateway.server
    with OperatorClient(server.url, 5, lambda: "w" * 43) as client:
        news = Feed(client).look()
    assert "operator" in news.problem and news.entries == ()
    assert "Nothing could be read" in panels.entries_table([], news)
    with pytest.raises(NotAuthorised, match="TRISEAL_OPERATOR_TOKEN"):
        token_of(Settings(_env_file=None, server_data=tmp_path))


def test_erased_person_disappears_also_from_reports_with_names(compliance, page):
    page.fill("#first-day input", "2026-01-01")
    erased = compliance.gateway.owner("user_1", "DELETE", "/consents/user_1")
    assert erased.status_code == 204, erased.text
    page.wait_for_selector("td em")
    assert not [why for why in texts(page, "Why") if "no-marketing" in why]
    page.check("#names input")
    make_report(page, "2026-01-01 to")
    assert "user_1" not in downloaded(page, "csv").decode()


def test_server_that_stops_is_named_on_the_page(compliance, page):
    compliance.gateway.server.stop()
    page.wait_for_selector(".ts-stale")
    assert "cannot be reached" in page.inner_text(".ts-stale")
    assert page.locator(ROW).count() > 3, "what was read stays"
