"""Words for people: no page shows an applicant a column's name, an exception, a command or setting.

Every text of the single page and of all parties' pages is read, before and after the steps, and
the message of every error as it comes out on a page.
"""

import html
import re

import pytest

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from features.encoding import Layout
from features.schema import Scale, Schema
from model.explanation import explain_scores
from parties.joint.listing import ListedApplication
from parties.results import Decision, ExplanationOpened, KeysMade
from parties.run_follower import RunNews
from settings import ROOT
from tests.ui.conftest import public_of
from tests.ui.test_joint_pages import (
    ID,
    ApplicationAgent,
    agent_of,
    joint_public,
    state_of,
    with_reasons,
)
from ui import joint_texts, panels, refusals, texts
from ui.agent import buttons as agent_buttons
from ui.agent import panels as agent_panels
from ui.agent.listing import listed_words
from ui.agent.page import build_agent_page
from ui.agent.reasons import reasons_panel
from ui.error_words import error_words, in_labels, is_technical, words_html
from ui.single import buttons as single_buttons
from ui.single.page import build_page
from ui.state import PageState
from utils.errors import ServerBusy, TrisealError, error_classes

SCHEMA = Schema.load(ROOT / "features" / "credit_card.json")
SINGLE, JOINT = public_of(SCHEMA), with_reasons(joint_public(SCHEMA))
NAMES = [name for name in (*SCHEMA.party_names, *(c.name for c in SCHEMA.columns())) if "_" in name]
CLASSES = [cls.__name__ for cls in error_classes().values()]
FORBIDDEN = re.compile(
    rf"\b({'|'.join([*NAMES, *CLASSES, 'ConnectError', 'ReadTimeout'])})\b"
    r"|TRISEAL_|\bmake [a-z]+`|`make |\bmake (demo|bench|compile)\b|python -m|Traceback|\w_\w"
)


def read(text):
    """Return what a person reads: no tags, and nothing that is folded."""
    for tag in ("details", "style", "script"):
        text = re.sub(rf"<{tag}.*?</{tag}>", "", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def assert_for_people(text):
    found = FORBIDDEN.search(read(text))
    assert found is None, (found and found[0], read(text))


def texts_of(page):
    """Return every text of a page: of its components, of their choices and help."""
    for block in page.blocks.values():
        for name in ("label", "info", "placeholder", "value"):
            text = getattr(block, name, None)
            if isinstance(text, str):
                yield text
        for choice in getattr(block, "choices", None) or ():
            yield str(choice[0])


def test_the_walk_finds_what_it_looks_for():
    for bad in ("Total_income is missing", "bank, credit_agency", "OutOfStep", "a TRISEAL_ENGINE"):
        with pytest.raises(AssertionError):
            assert_for_people(f"<p>{bad}</p>")
    assert_for_people("<p>Yearly income</p><details><p>TRISEAL_ENGINE</p></details>")


def test_all_texts_of_the_pages_are_for_people(tmp_path):
    pages = [build_page(SINGLE, tmp_path)]
    pages += [build_agent_page(agent_of(JOINT, name)) for name in SCHEMA.party_names]
    found = [text for page in pages for text in texts_of(page)]
    assert any("Agree to open the decision" in text for text in found)
    assert any("Gross income of a year." in text for text in found)  # the help of a field
    for text in found:
        assert_for_people(text)
    for text in (
        texts.introduction(SINGLE),
        texts.who_holds_what(SINGLE),
        texts.protection(SINGLE),
        joint_texts.stage_introduction(JOINT),
        joint_texts.stage_holds(JOINT),
        *(joint_texts.agent_holds(JOINT, party) for party in SCHEMA.parties),
        read(refusals.needs_link("the page", 1).body.decode()),
        read(refusals.old_link("the page").body.decode()),
        read(refusals.unknown_host().body.decode()),
        read(refusals.foreign_origin().body.decode()),
    ):
        assert_for_people(text)


def decided(approved):
    layout = Layout(SCHEMA)
    record = {code.column.name: code.value(0) for code in layout.codes}
    scores = [-1.0] * SCHEMA.explained_outputs
    said = explain_scores(SCHEMA, record, approved, scores)
    score = 5.0 if approved else -0.2
    decision = Decision(ID, approved, score, score / 20, 128, 99, 0.1, "e" * 64, "aa" * 32, ())
    return decision, ExplanationOpened(ID, said, 0.1, 10, 0.1, ())


@pytest.mark.parametrize("approved", [True, False])
def test_all_panels_of_the_steps_are_for_people(approved):
    names = SCHEMA.party_names
    decision, explained = decided(approved)
    applications = [None]
    for party in names:
        for some in (names[:1], names):
            runs = [
                {DECIDE: status}
                for status in ("idle", "queued", "running", "failed", "cancelled", "done")
            ]
            applications += [
                ApplicationAgent(
                    JOINT,
                    party,
                    awaits=[name for name in names if name not in some],
                    sent_by=some,
                    has_sent=party in some,
                    keys_ready=len(some) > 1,
                    identities=(),
                    agreed=dict.fromkeys(PROGRAMS, some),
                    state=state_of(JOINT, joined=some, runs=run),
                )
                for run in runs
            ]
        only = {"is_reader": False, "readers": names[1:], "answered": PROGRAMS, "identities": ()}
        applications.append(ApplicationAgent(JOINT, party, **only))
        opened = {"decision": decision, "explanation": explained, "identities": ()}
        applications.append(ApplicationAgent(JOINT, party, **opened))
    for each in applications:
        for text in (
            agent_panels.status(each, JOINT),
            agent_panels.key_panel(each, JOINT),
            agent_panels.sent_panel(each, JOINT, True),
            agent_panels.decision_panel(each, JOINT),
            agent_panels.explanation_panel(each, JOINT),
            reasons_panel(each, JOINT),
            *(s.reason for s in agent_buttons.button_states(each, JOINT, True).values()),
        ):
            assert_for_people(text)
    state = PageState(decision=decision, explained=explained)
    news = [RunNews(DECIDE, "waiting", text="No server at http://x; see `make demo`."), None]
    for one in [*news, RunNews(EXPLAIN, "running", ProgramState(status="running", progress=0.5))]:
        state.asked, state.news = DECIDE if one is None else one.program, one
        for text in (
            panels.run_panel(state, SINGLE),
            panels.decision_panel(state, SINGLE),
            panels.explanation_panel(state, SINGLE),
            panels.reasons_panel(state, SINGLE),
            *(s.reason for s in single_buttons.button_states(state, SINGLE).values()),
        ):
            assert_for_people(text)
    state.made(KeysMade(ID, names[0], tuple(names[1:]), 10, 20, 0.1, ()))
    assert_for_people(panels.keys_panel(state, SINGLE))


def test_applications_in_the_list_are_in_words():
    for stage in ("joined", "key", "sent", "agreed", "answered", "ended", "damaged"):
        assert_for_people(listed_words(ListedApplication(ID, None, stage), JOINT))
    denied = ListedApplication(ID, None, "decided", False, True, True)
    assert listed_words(denied, JOINT) == f"{ID[:8]}: denied, explained, reasons opened"


MESSAGES = [
    "Total_income is missing: give a number.",
    "Waiting for bank, credit_agency.",
    "Set TRISEAL_ENGINE=levelled on the server.",
    "The server at http://127.0.0.1:5 cannot be reached (ConnectError). Start it with `make demo`.",
    "deployment_files/schema.json is missing; run `make compile` again.",
    "The server's queue is full (TRISEAL_MAXIMUM_QUEUED). Try again in a moment.",
]


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.__name__)
def test_no_error_reaches_a_person_in_words_of_the_code(cls):
    for message in MESSAGES:
        words = error_words(cls(message), SCHEMA)
        assert_for_people(words_html(words))
        assert words.text.rstrip().endswith(".")


def test_the_technical_message_is_folded_and_labels_replace_names():
    words = error_words(TrisealError(MESSAGES[3]), SCHEMA)
    shown, folded = words_html(words).split("<details")
    assert "Nothing is lost" in shown and "make demo" not in shown
    assert "make demo" in folded
    assert in_labels(MESSAGES[0], SCHEMA).startswith("Yearly income is missing")
    assert in_labels(MESSAGES[1], SCHEMA) == "Waiting for bank, credit agency."
    assert error_words(ServerBusy("Full.", 3), SCHEMA).text.startswith("The service is busy.")
    assert is_technical("run `make`") and not is_technical("Make the keys first.")


def test_the_distance_to_the_line_says_how_sure_a_decision_is():
    shown = {}
    for log_odds in (0.1, 0.5, 1.0, 3.0, -3.0):
        decision = Decision(ID, log_odds >= 0, 1, log_odds, 128, 9, 0.1, "", "", ())
        shown[log_odds] = panels.decision_panel(PageState(decision=decision), SINGLE)
    assert "1.11 times" in shown[0.1] and "very close to the line" in shown[0.1]
    assert "So near to the line, engines may differ" in shown[0.1]
    assert "engines may differ" not in shown[0.5] and "How sure: close to the line" in shown[0.5]
    assert "clear of the line" in shown[1.0]
    assert "odds of denied are 20 times" in shown[-3.0] and "far from the line" in shown[3.0]
    scaled = SCHEMA.model_copy(
        update={"decision": SCHEMA.decision.model_copy(update={"scale": Scale()})}
    )
    panel = panels.decision_panel(PageState(decision=decision), public_of(scaled))
    assert "87 points of the score scale" in panel
    alone = Decision(ID, True, None, None, 1, 9, 0.1, "", "", ())
    assert "How sure" not in panels.decision_panel(PageState(decision=alone), SINGLE)
