"""The page with a witness's status, in a real browser."""

from __future__ import annotations

import httpx
import pytest

from tests.ui.accessible import check_accessible
from tests.ui.hosts import assert_names_no_other_host
from tests.ui.test_page import assert_fits
from utils.ports import free_port
from witness.page import status_page
from witness.status import Status

WIDTHS = (1280, 390)
KEY = "b3a781e00826623cc8de" + "0" * 44


@pytest.fixture
def status():
    return Status("<i>Auditor</i>", KEY, "7247d3e3e6b249150309b023c243e817")


@pytest.fixture
def address(status):
    with status_page(status, free_port()) as port:
        yield f"http://127.0.0.1:{port}/"


def test_page_has_counts_and_statements_in_words_and_no_barrier(browser, status, address):
    page = browser.new_page()
    page.goto(address)
    assert page.inner_text("h1") == "Witness <i>Auditor</i>"
    assert "None yet" in page.inner_text("main")
    check_accessible(page, widths=WIDTHS)
    for refusal in (None, "other_model", "messages_refused", "result_differs"):
        for _ in range(300):
            status.said("88b0d2129f18", "decide", refusal, 1.25)
    status.problem("The server cannot be reached.")
    page.reload()
    assert page.locator("dd").all_inner_texts()[:2] == ["300", "900"]
    assert page.locator("tbody tr").count() == 20, "the newest"
    assert "88b0d212" in page.inner_text("tbody") and "88b0d2129" not in page.inner_text("tbody")
    assert "refused: its result differs" in page.inner_text("tbody")
    assert "1,250 ms" in page.inner_text("tbody")
    assert page.inner_text("[role=status]") == "The server cannot be reached."
    assert_names_no_other_host(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
    check_accessible(page, widths=WIDTHS)


def test_other_names_and_paths_are_refused_with_what_to_do(address):
    with httpx.Client(base_url=address, trust_env=False) as http:
        foreign = http.get("/", headers={"Host": "evil.example"})
        assert foreign.status_code == 421 and "address that the witness printed" in foreign.text
        missing = http.get("/elsewhere")
        assert missing.status_code == 404 and "/status" in missing.text
