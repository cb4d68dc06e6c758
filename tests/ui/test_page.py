"""The real page in a real browser with a real server: user actions and visible results.

Loading a page takes longer than most tests, so they share two sessions, a wide page and a narrow
one, and start over on them.
"""

import re
from urllib.parse import urlsplit

import pytest

from model.explanation import Outcome
from model.reasons import principal_reasons
from tests.parties.running import filled, until
from tests.ui import keyboard
from tests.ui.accessible import check_accessible
from tests.ui.hosts import assert_names_no_other_host
from tests.ui.links import opened
from ui.forms import bin_words

NUMBERS = ["Num_children", "Household_size", "Total_income", "Age", "Account_age"]
CHECKS = ["Own_car", "Own_property", "Mobile_phone", "Employed"]
VARIED = [*NUMBERS, *CHECKS, "Years_employed"]


OUTLINE = "element => (element.blur(), getComputedStyle(element).outlineStyle)"
"""The outline of a field without the focus, which has one of its own."""


def fill(page, oracle, record):
    """Type a record whose other columns have their defaults."""
    for name in NUMBERS:
        page.fill(f"#field-{name} input", str(int(record[name])))
    for name in CHECKS:
        page.set_checked(f"#field-{name} input", record[name])
    choose_years(page, oracle, record["Years_employed"])


def choose_years(page, oracle, years):
    column = oracle.schema.column("Years_employed")
    label = bin_words(column)[sum(years >= cut for cut in column.cuts)]
    page.click("#field-Years_employed input")
    page.click(f'ul[role="listbox"] li[aria-label="{label}"]')


def step_is_done(page, number):
    page.wait_for_selector(f".ts-strip li.done:nth-child({number})")


def text(page, selector):
    return page.inner_text(selector).strip()


def told(page, button):
    """Return why a step could not be taken, as shown next to its button."""
    page.click(button)
    page.wait_for_selector(f"{button}:not([aria-busy])")
    page.wait_for_selector(".ts-told")
    return text(page, ".ts-told")


def why_not(page, button):
    """Return why a button cannot be pressed, as on hover and to a screen reader."""
    found = page.wait_for_selector(f"{button}[disabled][title]")
    note = page.locator(f"#{found.get_attribute('aria-describedby')}")
    assert note.text_content() == found.get_attribute("title")
    return found.get_attribute("title")


def primary(page):
    return page.locator("button.primary:visible").evaluate_all("all => all.map(e => e.id)")


def five_steps(page):
    for number, button in ((1, "#make-keys"), (2, "#send-all")):
        page.click(button)
        step_is_done(page, number)
    decide_and_explain(page)


def run(page):
    page.click("#run")
    page.wait_for_selector(".ts-section:has(#run) >> text=Evaluated in")


def decide_and_explain(page):
    run(page)
    for number, button in ((3, "#open-decision"), (4, "#explain")):
        page.click(button)
        step_is_done(page, number)


def start_over(page):
    """Return the page at the first step of a new application."""
    if page.is_enabled("#start-over"):
        page.click("#start-over")
        if page.locator("dialog").count():  # an application is under way
            page.click("dialog .ts-yes")
    page.wait_for_selector(".ts-strip li.next:nth-child(1)")
    return page


@pytest.fixture(scope="module")
def wide(open_page):
    return open_page()


@pytest.fixture(scope="module")
def narrow(open_page):
    return open_page(390, scheme="dark")


def test_steps_out_of_order_and_invalid_values_are_named(wide):
    page = wide  # just loaded
    check_accessible(page)
    assert_draws_nothing(page)
    assert_names_no_other_host(page)
    for button in ("#run", "#send-all", "#send-bank", "#open-decision", "#explain"):
        assert "Make the keys first" in why_not(page, button)
    assert primary(page) == ["all-steps"]
    assert page.locator(".ts-strip li.done").count() == 0
    page.click("#make-keys")
    step_is_done(page, 1)
    assert primary(page) == ["send-all"]
    age = page.input_value("#field-Age input")
    page.fill("#field-Age input", "17")
    assert "Age cannot be '17': give a number from 18 to 120" in told(page, "#send-applicant")
    assert "Send 0/3" in text(page, ".ts-strip")
    page.fill("#field-Age input", "old")
    told_now = told(page, "#send-applicant")
    assert "Age cannot be 'old', which is not a number" in told_now
    assert page.locator("#field-Age input").evaluate(OUTLINE) == "solid"
    page.fill("#field-Age input", age)
    page.wait_for_selector(".ts-told", state="detached")  # its cause has gone
    assert page.locator("#field-Age input").evaluate(OUTLINE) != "solid"
    page.set_checked("#field-Employed input", False)
    words = "A person who is not employed now has 0 years in the present employment."
    assert words in told(page, "#send-credit_agency")
    assert words in text(page, ".ts-party .ts-told")
    page.set_checked("#field-Employed input", True)
    page.wait_for_selector(".ts-told", state="detached")
    assert "Send 0/3" in text(page, ".ts-strip")
    page.click("#send-bank")
    page.wait_for_selector(".ts-strip >> text=Send 1/3")
    missing = why_not(page, "#run")
    assert missing.startswith("The applicant and the credit agency have to encrypt and send first")
    for count, party in ((2, "credit_agency"), (3, "applicant")):
        page.click(f"#send-{party}")
        page.wait_for_selector(f".ts-strip >> text=Send {count}/3")
    assert page.locator(".ts-party .ts-hex code").count() == 3
    assert "The model has to run first" in why_not(page, "#open-decision")


def test_all_steps_to_an_explanation_and_again_with_a_changed_input(wide, oracle):
    record = oracle.find(Outcome.TURNED, VARIED)
    explanation = oracle.explanation(record)
    years = oracle.schema.explained_column.bin_floor(explanation.turning_bin)
    turned = record | {"Employed": True, "Years_employed": years}
    page = start_over(wide)
    assert_fits(page)
    fill(page, oracle, record)
    five_steps(page)
    assert text(page, ".ts-word") == "Denied"
    score = oracle.score(record)
    shown = text(page, ".ts-decision").replace("−", "-").replace("+", "")
    assert f"Score {score};" in shown
    assert text(page, ".ts-says") == explanation.text
    page.wait_for_selector(".js-plotly-plot .bars .point")
    assert page.locator(".js-plotly-plot .bars .point").count() == 6
    assert_fits(page)
    assert not page.evaluate("document.body.classList.contains('dark')")
    log = text(page, ".ts-log")
    assert "requests the decision" in log
    assert log.count("Server → Applicant") == 2 and "Credit agency → Server" in log
    page.click("#reasons")
    step_is_done(page, 5)
    principal = principal_reasons(oracle.schema, oracle.points(record))
    assert page.locator(".ts-reasons li").all_inner_texts() == [one.text for one in principal]
    assert_fits(page)
    check_accessible(page, widths=(1280, 390))
    page.set_viewport_size({"width": 390, "height": 844})
    assert_fits(page)
    assert page.locator(".xtick text").count() == 6
    page.set_viewport_size({"width": 1280, "height": 900})
    page.click(".ts-data summary")
    assert page.locator(".ts-data tbody tr").count() == 6
    assert page.locator(".modebar").count() == 0
    hosts = {url.split("/")[2] for url in page.asked if "://" in url}
    assert hosts == {page.url.split("/")[2]}  # nothing is fetched from elsewhere
    choose_years(page, oracle, years)
    page.set_checked("#field-Employed input", True)
    page.wait_for_selector("text=Values changed since they were sent")
    assert "The credit agency has to encrypt and send first" in why_not(page, "#explain")
    page.click("#send-credit_agency")
    page.wait_for_selector("text=a new one was opened")
    assert text(page, ".ts-log").count("sent again") == 2
    decide_and_explain(page)
    assert text(page, ".ts-word") == "Approved"
    assert text(page, ".ts-says") == oracle.explanation(turned).text
    assert page.locator(".ts-strip li.done").count() == 5  # reasons are not needed
    assert "Reasons (not needed)" in text(page, ".ts-strip")


def test_lost_server_is_reported_and_found_again(wide, live_page, live_server):
    page = start_over(wide)
    page.click("#make-keys")
    step_is_done(page, 1)
    live_server.stop()
    try:
        message = told(page, "#send-all")
        page.click(".ts-technical summary")
        technical = text(page, ".ts-technical p")
    finally:
        live_server.start()
    assert message == "The service cannot be reached. Nothing is lost; try again in a moment."
    assert live_server.url in technical and "make demo" in technical
    page.wait_for_selector(".ts-told", state="detached")  # its cause has gone
    page.click("#all-steps")  # the application is still there
    step_is_done(page, 4)
    assert text(page, ".ts-word") in ("Approved", "Denied")
    assert "Traceback" not in live_page.log()


def test_run_can_be_queued_cancelled_and_repeated(wide, live_server, oracle, tmp_path):
    page = start_over(wide)
    strip, run = ".ts-strip", ".ts-section:has(#run)"
    page.click("#make-keys")
    step_is_done(page, 1)
    page.click("#send-all")
    step_is_done(page, 2)
    assert not page.is_visible("#cancel-run")
    with live_server.stuck():
        page.click("#run")
        page.wait_for_selector(f"{strip} >> text=Running")
        assert "Running on the server" in text(page, run)
        assert moving(page) == []  # as it was asked for reduced motion
        page.emulate_media(reduced_motion="no-preference")
        assert "ts-turn" in moving(page)
        page.click("#cancel-run")  # ends the worker
        page.wait_for_selector(f"{run} >> text=Cancelled. You can run it again")
    assert not page.is_visible("#cancel-run") and "Decide" in text(page, strip)
    connection = live_server.connect(tmp_path / "others")
    others = [filled(connection, oracle, oracle.default()) for _ in range(2)]
    with live_server.stuck():
        for other in others:  # one occupies the worker, the other the only place in the queue
            other.permit()
            connection.client.queue(other.client_id, other.membership.token())
            until(lambda o=other: o.state().programs["decide"].under_way)
        until(lambda: others[0].state().programs["decide"].status == "running")
        page.click("#run")
        page.wait_for_selector(f"{strip} >> text=Waiting")
        assert "The service is busy. Nothing is lost; it goes on by itself." in text(page, run)
        page.wait_for_selector("#cancel-run")
        page.click(f"{run} .ts-technical summary")
        assert "its queue is full with 1 runs" in text(page, f"{run} .ts-technical p")
        others[1].cancel()
        page.wait_for_selector(f"{strip} >> text=Queued")
        assert "Queued: it starts as soon as a worker is free." in text(page, run)
    page.wait_for_selector(f"{run} >> text=Evaluated in")
    assert not page.is_visible("#cancel-run")
    connection.client.close()


def test_narrow_dark_page_fits_its_examples_and_starts_over(narrow, oracle):
    page = narrow
    assert_fits(page)
    keyboard.press(page, "text=Young, first account")
    page.wait_for_function("document.querySelector('#field-Age input').value === '26'")
    keyboard.press(page, "#all-steps", key="Space")
    step_is_done(page, 4)
    page.wait_for_selector(".js-plotly-plot .bars .point")
    assert_fits(page)
    assert page.evaluate("document.body.classList.contains('dark')")
    assert page.evaluate("document.documentElement.scrollHeight") <= 5000
    start_over(page)
    default = oracle.schema.column("Age").default
    page.wait_for_function(f"document.querySelector('#field-Age input').value === '{default:g}'")
    assert page.locator(".ts-word").count() == 0
    assert "No messages yet" in page.text_content("body")
    assert not page.locator(".js-plotly-plot").is_visible()


def test_browser_sessions_are_separate(wide, narrow):
    for page in (wide, narrow):
        start_over(page).click("#make-keys")
        step_is_done(page, 1)
    wide.click("#send-all")
    step_is_done(wide, 2)
    assert "Send 0/3" in text(narrow, ".ts-strip")
    ids = [text(page, "dt:text-is('Application') + dd") for page in (wide, narrow)]
    assert len(set(ids)) == 2


def moving(page):
    """Return the names of the animations of a page that do not end."""
    return page.evaluate(
        """() => document.getAnimations()
            .filter(each => each.effect.getComputedTiming().iterations === Infinity)
            .map(each => each.animationName)"""
    )


def assert_draws_nothing(page):
    """A page on which nothing happens soon asks for no animation frame within half a second."""
    asked = -1
    for _ in range(20):
        before, asked = asked, page.evaluate("framesAsked")
        if asked == before:
            return
        page.wait_for_timeout(500)
    raise AssertionError("an idle page draws frames")


# Elements that reach out of the window, as text. The container clips overflow, so each element is
# measured by itself.
OUTSIDE = """() => [...document.querySelectorAll('main *')]
    .filter(e => e.checkVisibility() && !e.closest('.ts-table thead'))
    .filter(e => { const r = e.getBoundingClientRect();
                   return r.width > 1 && (r.right > innerWidth + 1 || r.left < -1); })
    .map(e => `${e.tagName} ${e.getAttribute('class')} ${e.textContent.slice(0, 40)}`)"""


TOUCHING = """() => [...document.querySelectorAll('.xaxislayer-above')].flatMap(axis => {
    const lines = [...axis.querySelectorAll('.xtick text')].flatMap(text => {
        const own = [...text.querySelectorAll('tspan.line')];
        return (own.length ? own : [text]).map(each => [text, each.getBoundingClientRect()]);
    });
    return lines.filter(([text, box]) => lines.some(([other, its]) => other !== text &&
        its.left < box.right && box.left < its.right &&
        its.top < box.bottom - 2 && box.top < its.bottom - 2)).map(([text]) => text.textContent);
})"""
"""Labels below a plot that overlap another one."""


def assert_fits(page):
    """Nothing of a page or frame is wider than its window, once plots have taken their size.

    Labels of steps are whole, and labels of plots do not touch.
    """
    for _ in range(50):
        if not (outside := page.evaluate(OUTSIDE)):
            break
        page.wait_for_timeout(100)
    assert outside == []
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.ts-strip span')]
            .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""
    )
    assert cut == []
    assert page.evaluate(TOUCHING) == []


def test_refusals_have_no_barriers(context, live_page):
    page = context.new_page()
    page.goto(live_page.link.split("?")[0] + "?token=old")
    assert page.inner_text("h1") == "This link is out of date"
    check_accessible(page)
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    with pytest.raises(AssertionError, match="button-name"):
        check_accessible(page)
    page.evaluate(
        """() => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync("@media (prefers-color-scheme: dark) {h1 {color: #222}}");
          document.adoptedStyleSheets.push(sheet);
        }"""
    )
    with pytest.raises(AssertionError, match=r"dark, .*color-contrast"):  # in the second scheme
        check_accessible(page)
    page.close()


def test_page_api_offers_steps_by_name(live_page):
    with opened(live_page.link) as client:
        named = set(client.get("gradio_api/info").json()["named_endpoints"])
    assert {"/make_keys", "/send_bank", "/run", "/open_decision", "/explain", "/reasons"} <= named


def test_the_page_names_no_foreign_host(live_page):
    """Neither to load from, nor in a tag for link previews; examples in texts name only ours."""
    with opened(live_page.link) as client:
        document = client.get("").text
    config = re.search(r"window.gradio_config = .*?;</script>", document, re.DOTALL)
    assert config and "og:" not in document and "twitter:" not in document
    named = {urlsplit(url).hostname for url in re.findall(r"https?://[^\s\"'<>\\\\)]+", document)}
    assert named <= {"127.0.0.1", "localhost", "www.w3.org"}
    assert "preconnect" not in document
