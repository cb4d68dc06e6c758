"""Real loans from a drafted schema to the pages of three parties, in a browser."""

from __future__ import annotations

import csv

import pytest

import training.compile
import training.evaluate
import training.schema
import training.train
from engines.deployment import Deployment
from engines.interface import DECIDE, REASONS
from features.schema import BooleanColumn, OrdinalColumn
from model.levels import levels_of
from model.reasons import principal_reasons
from tests.training.south_german_file import south_german_file
from tests.ui.conftest import without_plots
from tests.ui.demos import Demo
from training import south_german
from training.data import training_frame

PARTIES = {
    "bank": "status,savings,amount,duration",
    "credit_agency": "credit_history,number_credits",
}


def run(command, *arguments):
    assert command([str(argument) for argument in arguments]) == 0


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """The model of South German Credit over a drafted schema, compiled."""
    table = south_german.table_of(south_german_file().read_bytes())
    data, schema, model = (tmp_path / name for name in ("loans.csv", "schema.json", "model"))
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([list(south_german.NAMES.values()), *table])
    named = [
        word for party, columns in PARTIES.items() for word in ("--party", f"{party}={columns}")
    ]
    drafted = ("--data", data, "--target", "credit_risk", "--approved", "1", "--out", schema)
    run(training.schema.main, *drafted, *named)
    monkeypatch.setattr(training.train, "SHAPES", training.train.SHAPES[6:7])
    run(training.train.main, "--schema", schema, "--data", data, "--out", model)
    compiled = tmp_path / "compiled"
    run(training.compile.main, "--model", model, "--out", compiled, "--engines", "levelled")
    evaluated = ("--deployment", compiled, "--data", data, "--model", model)
    run(training.evaluate.main, *evaluated, "--applicants", 2, "--explanations", 1)
    found = Deployment.load(compiled)
    return found, training_frame(found.schema, [data], None, 0, 20)[0]


def denied_record(found, frame):
    """Return a denied row with more reasons than may be stated, its bits, and its levels."""
    programs = found.programs_of("levelled")
    bits = found.layout.encode_frame(frame)
    levels = levels_of(programs[REASONS].scores(bits), programs[REASONS].edges)
    denied = programs[DECIDE].scores(bits)[:, 0] < 0
    row = int((denied & ((levels > 0).sum(axis=1) > 2)).nonzero()[0][0])
    return frame.iloc[row].to_dict(), levels[row].tolist()


def fill(frame, party, record):
    for column in party.columns:
        value, field = record[column.name], frame.locator(f"#field-{column.name} input")
        if isinstance(column, BooleanColumn):
            field.set_checked(bool(value))
        elif isinstance(column, OrdinalColumn):
            field.fill(f"{value:g}")
        else:
            field.click()
            own = frame.locator(f'#field-{column.name} ul[role="listbox"]')
            own.locator(f'li[aria-label="{value}"]').click()


def test_real_loans_from_a_draft_to_a_notice(deployment, tmp_path, browser):
    found, frame = deployment
    schema = found.schema
    record, levels = denied_record(found, frame)
    stated = [reason.text for reason in principal_reasons(schema, levels)]
    demo = Demo(tmp_path, found.folder, "levelled")
    try:
        demo.wait_for("Triseal is ready")
        page = browser.new_page()
        page.set_default_timeout(40_000)
        without_plots(page)
        page.goto(demo.link)
        page.click("#new")
        frames = {
            p.name: page.frame_locator(f'iframe[data-agent="{p.name}"]') for p in schema.parties
        }
        for party in schema.parties:
            frames[party.name].locator(".ts-print").wait_for()
            fill(frames[party.name], party, record)
        for button, done in (
            ("#send", ".ts-strip li.done:nth-child(2)"),
            ("#agree-decide", ".ts-word"),
        ):
            for one in frames.values():
                one.locator(button).click()
            for one in frames.values():
                one.locator(done).first.wait_for()
        applicant = frames[schema.party_names[0]]
        assert applicant.locator(".ts-word").first.inner_text().strip() == "Denied"
        for one in frames.values():
            one.locator("#agree-reasons").click()
        for text in stated:
            applicant.get_by_text(text, exact=True).first.wait_for()
        applicant.get_by_text("Notice of a denial").click()
        applicant.locator("#notice").click()
        notice = applicant.frame_locator('iframe[title="Notice"]')
        notice.locator("ol li").first.wait_for()
        assert notice.locator("ol li").all_inner_texts() == stated
        applicant.get_by_text("Review by a person", exact=True).click()
        applicant.locator("#review-statement textarea").fill("Please look again.")
        applicant.locator("#review-ask").click()
        applicant.get_by_text("waiting for the lender").wait_for()
        page.close()
    finally:
        demo.stop()
