"""The owner's and the institution's page with a real server, real agents and a real browser."""

import json
import secrets
import tempfile
from pathlib import Path

import httpx
import pytest

from governance.receipts import Receipt
from governance.reports import Line, row_of
from tests.ui.accessible import check_accessible
from tests.ui.agents import both_pages
from tests.ui.test_page import assert_fits

BILLS = [{"month": f"2026-{month:02}-01", "amount": 48731.25 + month} for month in range(1, 13)]
REASON = "Regular bills show that you pay on time. <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory, live_server, browser):
    """Return the owner's and the institution's page, each in a window of its own.

    A browser draws a tab that is behind another only once a second.
    """
    with both_pages(tmp_path_factory.mktemp("consent"), live_server) as agents:
        opened = []
        for agent in agents:
            page = browser.new_page()
            page.set_default_timeout(40_000)
            page.goto(agent.link)
            opened.append(page)
        yield opened
        for page in opened:
            page.close()


def pick(page, field, label):
    page.click(f"#{field} input")
    page.click(f'ul[role="listbox"] li[aria-label="{label}"]')


def write(page, field, text):
    page.locator(f"#{field} input, #{field} textarea").first.fill(text)


def told(page, words):
    """Wait for a message beside a button."""
    page.wait_for_selector(f".ts-told:has-text('{words}')")


def connect(owner, bank):
    """Connect the institution with a new session of the owner's; return the code."""
    owner.click("#host")
    code = owner.locator("#session-code textarea, #session-code input").first
    code.wait_for()
    given = code.input_value()
    write(bank, "code", given)
    bank.click("#connect")
    owner.wait_for_selector("#session-code", state="hidden")
    bank.wait_for_selector("#search")
    return given


def values_in(text):
    """Return the amounts of the owner's bills that a text has, with or without commas."""
    return [bill["amount"] for bill in BILLS if str(bill["amount"]) in text.replace(",", "")]


def fits(page):
    """The page fits into both windows, has no barrier, and is not too long for a phone."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
        if width == 390:
            assert page.evaluate("document.documentElement.scrollHeight") < 5000
        check_accessible(page)


def test_a_request_goes_from_the_institution_through_the_owner_to_a_result(pages, tmp_path):
    owner, bank = pages

    # The owner stores data, with a category for each column, and hosts a session.
    owner.wait_for_selector("#use-samples")
    owner.click("#add-data button")
    owner.fill("#paste textarea", "[1, 2")
    owner.click("#read-paste")
    told(owner, "is not valid JSON")
    chosen = tmp_path / f"bills-{secrets.token_hex(8)}.json"
    chosen.write_text(json.dumps(BILLS))
    owner.set_input_files("input[type=file]", chosen)
    owner.wait_for_selector(f"text=Read {chosen.name}: 12 rows")
    owner.wait_for_selector("#category-1")
    # The copy that the browser uploaded is not left on the disk, where nothing encrypts it.
    uploads = Path(tempfile.gettempdir()).glob(f"triseal-page-*/**/{chosen.name}")
    assert list(uploads) == []
    write(owner, "tag", "Not a tag")
    owner.click("#store")
    told(owner, "lower case letters")
    write(owner, "tag", "bills")
    write(owner, "words", "Electricity bills of a year")
    for column in ("category-0", "category-1"):
        pick(owner, column, "the credit history")
    owner.click("#store")
    told(owner, "Stored and encrypted as bills")
    # The institution connects, and the code is no longer shown.
    given = connect(owner, bank)
    owner.wait_for_selector("td >> text=Demo Bank")
    prints = [page.inner_text(".ts-print code") for page in pages]
    owner.wait_for_selector(f"td code:text-is('{prints[1]}')")
    bank.wait_for_selector(f"td code:text-is('{prints[0]}')")
    assert given not in owner.content() + bank.content()

    # It finds the description, and tries the statistic on invented rows.
    write(bank, "search-words", "bills")
    bank.click("#search")
    bank.wait_for_selector(".ts-card >> text=amount")
    pick(bank, "data-set", "bills")
    bank.wait_for_selector('#column input:not([value=""])', state="attached")
    bank.click("#ask")
    told(bank, "Choose the purpose")
    pick(bank, "purpose", "to assess creditworthiness")
    write(bank, "reason", REASON)
    write(bank, "uses", "3")
    bank.click("#try")
    bank.wait_for_selector(".ts-mock .ts-result b")
    assert bank.locator(".ts-rows tbody tr").count() == 8
    bank.click("#ask")
    told(bank, "Asked. The owner decides")

    # The owner reads the request, as text, and approves it for one use.
    owner.wait_for_selector(".ts-ask >> text=The mean of amount")
    shown = owner.inner_text(".ts-ask")
    assert REASON in shown and "3 times" in shown and "The policy allows this" in shown
    assert owner.locator(".ts-ask img").count() == 0
    fits(owner)
    owner.click("#deny")
    told(owner, "Write a reason")
    owner.click("text=Approve with less")
    owner.click("#approve-less")
    told(owner, "This is all that was asked for")
    write(owner, "less-uses", "4")
    owner.click("#approve-less")
    told(owner, "from 1 to 3")
    write(owner, "less-uses", "2")
    owner.click("#approve-less")
    told(owner, "Approved with less")

    # No value has reached the institution; the run brings the result alone.
    bank.wait_for_selector(".ts-badge.good")
    bank.wait_for_selector("text=The owner approved less than was asked for")
    assert len(values_in(json.dumps(BILLS))) == 12  # the control
    assert values_in(bank.content()) == []
    bank.click("#run")
    told(bank, "Used once")
    assert bank.inner_text(".ts-result b") == "48,737.75"  # the mean
    assert values_in(bank.content()) == []
    owner.wait_for_selector(".ts-uses .ts-entry")
    owner.wait_for_selector(".ts-activity >> text=The data was used once")
    with owner.expect_download() as saved:
        owner.click(".ts-save")
    receipt = json.loads(saved.value.path().read_bytes())
    parsed = Receipt.parse(json.dumps(receipt).encode(), receipt["proof"]["key"])
    assert parsed.key.startswith(prints[0].replace(" ", ""))
    fits(owner)
    fits(bank)

    # A pause and a revocation stop the next use.
    owner.click("#pause")
    bank.wait_for_selector("text=The owner has paused it")
    assert not bank.is_visible("#run")
    owner.click("#resume")
    bank.wait_for_selector("#run")
    owner.click("#revoke")
    told(owner, "Revoked")
    bank.wait_for_selector("text=The owner has revoked it")
    assert not bank.is_visible("#run")
    assert bank.locator(".ts-result").count() == 1


def test_data_are_removed_once_confirmed_and_a_lost_server_is_named(pages, live_server):
    """The agents go on with the session when the server is back."""
    owner, bank = pages
    pick(owner, "data-choice", "bills")
    owner.click("#remove")
    told(owner, "Remove bills for good?")
    owner.click("#keep")
    owner.wait_for_selector("#remove-really", state="hidden")
    assert owner.locator(".ts-card").count() == 1
    owner.click("#remove")
    owner.click("#remove-really")
    owner.wait_for_selector("text=Your store is empty")
    live_server.stop()
    try:
        owner.click("#host")
        told(owner, "cannot be reached")
    finally:
        live_server.start()
    bank.click("#search")
    bank.wait_for_selector("text=No data set matches", timeout=60_000)


def test_requests_wait_in_turn_and_masked_fields_are_released_once(pages, live_server):
    """The owner steps through three requests, denies one with a reason, and approves a release."""
    owner, bank = pages
    connect(owner, bank)
    owner.click("#use-samples")
    told(owner, "Sample data is stored")
    write(bank, "search-words", "")
    bank.click("#search")
    bank.wait_for_selector(".ts-card >> text=personal-record")
    pick(bank, "data-set", "utility-bills")
    bank.wait_for_selector('#column input:not([value=""])', state="attached")
    pick(bank, "purpose", "to assess creditworthiness")
    for statistic in ("smallest value", "largest value"):
        pick(bank, "statistic", statistic)
        write(bank, "reason", f"We need the {statistic}.")
        bank.click("#ask")
        told(bank, "Asked. The owner decides")
        owner.wait_for_selector(f".ts-activity >> text={statistic.split()[0]}")
    pick(bank, "data-set", "personal-record")
    pick(bank, "action", "The fields themselves, masked")
    for field in ("name", "income"):
        bank.click(f"#fields label:has-text('{field}')")
    write(bank, "reason", "Who you are.")
    write(bank, "uses", "1")
    bank.click("#ask")
    told(bank, "Asked. The owner decides")

    # Both directions lead around; what was typed about one request is not sent about another.
    owner.wait_for_selector(".ts-ask >> text=Request 1 of 3")
    owner.click("#previous")
    owner.wait_for_selector(".ts-ask >> text=Request 3 of 3")
    assert "only a range" in owner.inner_text(".ts-masks")
    owner.click("#next")
    owner.wait_for_selector(".ts-ask >> text=Request 1 of 3")
    write(owner, "deny-reason", "Not the smallest.")
    owner.click("#next")
    owner.wait_for_selector(".ts-ask >> text=Request 2 of 3")
    owner.wait_for_function("!document.querySelector('#deny-reason :is(input, textarea)').value")
    write(owner, "deny-reason", "An average is enough.")
    owner.click("#deny")
    told(owner, "Denied. The institution is told your reason")
    owner.wait_for_selector(".ts-ask >> text=Request 1 of 2")
    owner.click("#next")
    owner.wait_for_selector(".ts-ask >> text=Request 2 of 2")
    owner.click("#approve")
    told(owner, "Approved")
    owner.wait_for_selector(".ts-ask >> text=The smallest value of amount")

    # The operator's log has the owner's reason, not that of the request.
    token = {"Authorization": f"Bearer {live_server.operator_token()}"}
    found = httpx.get(f"{live_server.url}/logs?status=denied", headers=token, trust_env=False)
    rows = [row_of(Line(**each)) for each in found.raise_for_status().json()["items"]]
    assert [row.reason for row in rows] == ["An average is enough."]
    assert rows[0].rules == ("credit-statistics",)

    # The fields arrive masked, and what is used up can no longer be run.
    bank.wait_for_selector(".ts-list .ts-badge.good")
    bank.click("#run")
    told(bank, "Used once")
    bank.wait_for_selector("text=All its uses are used up")
    assert not bank.is_visible("#run")
    shown = bank.inner_text(".ts-facts >> nth=-1")
    assert "40,000–59,999" in shown and "token:" in shown
    assert "Ana Example" not in bank.content() and "42000" not in bank.content()
