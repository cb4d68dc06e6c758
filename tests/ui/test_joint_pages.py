"""The stage and a party's page for any schema: their texts are true and escaped."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from contract.http import ApplicationState, ProgramState, SlotState, TrafficItem
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EXPLAIN,
    PROGRAMS,
    PUBLIC_KEY,
    REASONS,
    ProgramFacts,
    Slot,
)
from features.encoding import Layout
from model.explanation import Explanation, Outcome
from parties.joint.identities import PartyIdentity
from parties.results import (
    ALL,
    SERVER,
    Decision,
    ExplanationOpened,
    Message,
    ReasonsOpened,
    SliceSent,
)
from settings import ROOT, Settings
from tests.ui.conftest import public_of, with_parties
from ui import joint_texts, texts
from ui.agent import panels as agent_panels
from ui.agent.buttons import AGREE, RESTORE, SEND, STAYS, button_states
from ui.agent.page import build_agent_page
from ui.agent.reasons import reasons_offered, reasons_panel
from ui.buttons import notes_html
from ui.places import agent_addresses
from ui.stage import panels as stage_panels
from ui.stage.beside import beside_panel, run_beside
from ui.stage.page import Stage, Watched, build_stage
from ui.stage.side_by_side import main as side_by_side
from ui.steps import Step, show_steps, step_words
from ui.timeline import own_timeline
from ui.units import escape
from utils.errors import EvaluationFailed, ProtocolError, TooManyRequests, UnknownApplication

EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, never bound
ID = "ab" * 16


def joint_public(schema):
    public = public_of(schema)
    first = schema.party_names[0]
    slots = [(first, PUBLIC_KEY)] + [(p, ENCRYPTED_INPUTS) for p in schema.party_names]
    return public.model_copy(
        update={
            "engine": public.engine.model_copy(
                update={"joint_keys": True, "secret_key": "Nobody holds it."}
            ),
            "slots": tuple(
                Slot(party=p, file_name=n, needed_for=PROGRAMS, maximum_bytes=1000)
                for p, n in slots
            ),
        }
    )


def with_reasons(public):
    """Return the model with a program that states reasons."""
    outputs = tuple(reason.name for reason in public.schema_.stated_reasons)
    facts = ProgramFacts(outputs=outputs, score_bits=8, scale=10.0)
    return public.model_copy(update={"programs": {**public.programs, REASONS: facts}})


def agent_of(public, party):
    return SimpleNamespace(
        connection=SimpleNamespace(public=public, layout=Layout(public.schema_)),
        party=public.schema_.party(party),
        first=None,
    )


@pytest.fixture
def public(any_schema):
    return joint_public(any_schema)


def state_of(public, joined=(), filled=(), runs=(), readers=None):
    names = public.schema_.party_names
    status = dict.fromkeys(PROGRAMS, "idle") | dict(runs)
    return ApplicationState(
        client_id=ID,
        state="open",
        created_at="2026-01-01T00:00:00+00:00",
        expires_at="2026-01-02T00:00:00+00:00",
        joined=joined,
        slots=[
            SlotState(
                party=slot.party,
                file_name=slot.file_name,
                needed_for=slot.needed_for,
                received_bytes=10 if (slot.party, slot.file_name) in filled else None,
            )
            for slot in public.slots
        ],
        programs={name: ProgramState(status=found) for name, found in status.items()},
        missing={},
        readers=tuple(names if readers is None else readers),
    )


def item(number, sender, what, receiver=None, size=100):
    at = f"2026-01-01T00:00:{number:02d}+00:00"
    return TrafficItem(
        number=number, at=at, sender=sender, receiver=receiver, what=what, bytes=size
    )


def test_party_page_has_only_its_own_fields(public):
    schema = public.schema_
    for party in schema.parties:
        page = build_agent_page(agent_of(public, party.name))
        ids = {block.elem_id for block in page.blocks.values() if block.elem_id}
        fields = {found for found in ids if found.startswith("field-")}
        assert fields == {f"field-{column.name}" for column in party.columns}
        assert {"join", "send", "agree-decide", "agree-explain"} <= ids
        assert_named_and_limited(page)


def test_reviews_are_read_only_once_their_section_is_unfolded(public):
    page = build_agent_page(agent_of(public, public.schema_.lender.name))
    events = {fn.api_name: [name for _, name in fn.targets] for fn in page.fns.values()}
    assert events["reviews_arrive"] == ["expand"] == events["list_applications"]
    assert events["arrive"] == ["load"]


def test_the_stage_has_a_frame_for_every_party(public):
    page = build_stage(public, None, Settings(agent_port=9000))
    assert_named_and_limited(page)
    addresses = agent_addresses(Settings(agent_port=9000), public.schema_.party_names)
    tokens = {"second": "s-e"}
    shown = stage_panels.frames(public, addresses, {"first": 'a"b'}, tokens, turn=False)
    assert shown.count("<iframe") == len(public.schema_.parties)
    assert 'src="http://127.0.0.1:9000/?join=a%22b"' in shown
    assert 'src="http://127.0.0.1:9001/?token=s-e"' in shown and "<b>Second <b>" not in shown


def test_addresses_are_shown_before_frames_are_loaded(public):
    addresses = agent_addresses(Settings(agent_port=9000), public.schema_.party_names)
    shown = stage_panels.before_frames(public, addresses)
    assert "own process, 127.0.0.1:9001" in shown and "<iframe" not in shown
    assert "The page of the second &lt;b&gt; opens here" in shown


def test_each_opening_has_new_frames(public):
    """Gradio reuses elements with the same tag, so that an old page could reload itself."""
    addresses = agent_addresses(Settings(), public.schema_.party_names)
    one, two = (stage_panels.frames(public, addresses, {}, {}, turn) for turn in (False, True))
    assert one.startswith("<div ") and one.endswith("</div>")
    assert two.startswith("<section ") and two.endswith("</section>")


def assert_named_and_limited(page):
    names = [event.api_name for event in page.fns.values()]
    assert len(names) == len(set(names)) and all(names)
    assert all(isinstance(event.concurrency_limit, int) for event in page.fns.values())
    assert page.analytics_enabled is False
    # Other components would draw frames all the time that a tick waits.
    for tick in (event for event in page.fns.values() if event.api_name == "tick"):
        assert [type(shown) for shown in tick.show_progress_on] == [gr.State]


@pytest.mark.parametrize(
    ("host", "asked", "found"),
    [
        ("127.0.0.1", "127.0.0.1:7860", "127.0.0.1"),
        ("127.0.0.1", "localhost:7860", "localhost"),
        ("127.0.0.1", "evil.test", "127.0.0.1"),
        (EVERYWHERE, "demo.test:7860", "demo.test"),
        (EVERYWHERE, "evil.test:7860", "127.0.0.1"),
        (EVERYWHERE, "[::1]:7860", "[::1]"),
        (EVERYWHERE, '"><script>', "127.0.0.1"),
        ("::1", "", "[::1]"),
    ],
)
def test_page_addresses_use_the_browsers_host(host, asked, found):
    public = joint_public(with_parties(2))
    settings = Settings(page_host=host, agent_port=9000, allowed_hosts="demo.test")
    with gr.Blocks():
        stage = Stage(public, None, settings)
    request = SimpleNamespace(headers={"host": asked})
    assert stage.addresses(request)["second"] == f"http://{found}:9001"


def test_pages_behind_a_proxy_use_its_addresses(public):
    settings = Settings(agent_url="https://{party}.example.org/triseal/")
    addresses = agent_addresses(settings, public.schema_.party_names)
    assert addresses["second"] == "https://second.example.org/triseal"


def test_stage_states_what_it_holds(public):
    table = joint_texts.stage_holds(public)
    assert "Nobody holds it." in table and "watch token" in table
    assert "The token that opens a party&#x27;s page" in table
    assert table.count('data-who="This page"') == table.count("<tr>") - 1
    protection = joint_texts.stage_protection(public)
    protected, not_protected = protection.split("Not protected")
    assert "even if they collude with the server" in protected
    assert "no witness" in not_protected and "fingerprint" in not_protected
    column = public.schema_.explained_column.label
    assert f"“{column}”, once an explanation is opened" in not_protected
    for text in (table, protection, joint_texts.stage_introduction(public)):
        assert "<kind>" not in text and "<b>" not in text


def test_party_page_names_data_of_others_that_it_never_receives(public):
    party = public.schema_.parties[0]
    holds, never = joint_texts.agent_holds(public, party).split("It never receives")
    assert "its own record" in holds and "the records of the second &lt;b&gt;" in never


def test_stage_steps_follow_state_and_traffic(public):
    names = public.schema_.party_names
    assert [s.done for s in stage_panels.stage_steps(None, (), public)] == [False] * 4
    filled = [(names[0], PUBLIC_KEY), *((name, ENCRYPTED_INPUTS) for name in names)]
    state = state_of(public, joined=names, filled=filled)
    committed = [item(i, name, "record_commit") for i, name in enumerate(names)]
    some = stage_panels.stage_steps(state, committed[1:], public)
    assert some[1].count == len(names) - 1 and not some[1].done
    parts = [item(i, name, "partial:decide", names[0]) for i, name in enumerate(names)]
    steps = stage_panels.stage_steps(state, committed + parts, public)
    assert [s.done for s in steps] == [True] * 3 + [False]
    steps = stage_panels.stage_steps(state, parts[1:], public)
    assert not steps[2].done
    alone = state_of(public, joined=names, filled=filled, readers=names[:1])
    # The only reader does not send its share.
    assert stage_panels.stage_steps(alone, parts[1:], public)[2].done


def test_stage_timeline_shows_sender_and_time(public):
    first, second = public.schema_.party_names[:2]
    items = [
        item(1, first, "hello"),
        item(2, second, "encrypted_inputs", SERVER, 5000),
        item(3, SERVER, "ran decide"),
        item(4, SERVER, "result of explain", first),
        item(5, first, "run decide", SERVER, 0),
    ]
    log = stage_panels.stage_timeline(state_of(public), items, public)
    assert "<b>First</b> → <b>all parties</b>" in log and "after 2.0 s" in log
    assert "5 messages, 5.3 kB in total" in log and "request" in log
    assert "has computed the decision" in log and "the encrypted result of the explanation" in log
    assert "No messages yet" in stage_panels.stage_timeline(None, (), public)
    assert "No party has sent" in stage_panels.stage_timeline(state_of(public), (), public)


def test_steps_have_readable_descriptions():
    assert step_words("agree:decide") == "agrees to open the decision"
    assert step_words("cancelled decide") == "cancelled computing the decision"
    assert step_words("share_open") == "reveals its share of the public key"
    assert step_words("something_new") == "something new"
    assert step_words("encrypted result of decide") == step_words("result of decide")
    assert step_words("encrypted inputs") == "encrypted inputs"
    assert 'aria-current="step"' in show_steps([Step("A", 1), Step("B", 0, 3)])
    assert "B 0/3" in show_steps([Step("A", 1), Step("B", 0, 3)])


class Busy:
    """A server that always fails with one error, and counts the calls."""

    def __init__(self, error):
        self.error, self.asked = error, 0

    def state(self, *arguments):
        self.asked += 1
        raise self.error


def test_stage_backs_off_from_a_busy_server_and_recovers(public, monkeypatch):
    monkeypatch.setattr("ui.stage.page.WAIT_SECONDS", 0.0)
    with gr.Blocks():
        client = Busy(TooManyRequests("This token has asked 9 times. Wait.", 30))
        stage = Stage(public, client, Settings())
    watched = Watched(ID, "token")
    strip, log = stage.outputs.index(stage.strip), stage.outputs.index(stage.log)
    view = asyncio.run(stage.tick(watched))
    assert "The service is busy. Nothing is lost; it goes on by itself." in view[strip]
    assert "asked 9 times" in view[strip].split("<details")[1] and view[log] == gr.skip()
    view = asyncio.run(stage.tick(watched))
    assert view[strip] == gr.skip() and client.asked == 1
    view = asyncio.run(stage.tick(watched))
    assert all(part == gr.skip() for part in view[1:])
    assert not watched.over
    watched.quiet_until, client.error = 0.0, UnknownApplication("It has been erased.")
    assert "It has been erased." in asyncio.run(stage.tick(watched))[strip] and watched.over


class ApplicationAgent:
    """An application as its page reads it."""

    def __init__(self, public, party="first", answered=(), **member):
        facts = {
            "client_id": ID,
            "party": party,
            "state": state_of(public, joined=public.schema_.party_names),
            "keys_ready": True,
            "fingerprint": "0123 4567",
            "identities": (PartyIdentity("second", bytes(32), pinned=True),),
            "own_identity": b"\xab" * 32,
            "model_fingerprint": public.fingerprint,
            "secret_bytes": 545,
            "public_key": bytes(range(16)),
            "public_key_bytes": 16000,
            "awaits": (),
            "witnesses": ("Auditor",),
            "awaited_witnesses": (),
            "events": (),
            "sent_by": (),
            "has_sent": False,
            "upload": None,
            "readers": tuple(public.schema_.party_names),
            "is_reader": True,
            "reads": lambda program: self.member.is_reader,
            "readers_of": lambda program: self.member.readers,
            "decision": None,
            "explanation": None,
            "reasons": None,
        }
        agreed = member.pop("agreed", {})
        self.member = SimpleNamespace(**facts | member)
        self.member.agreed_by = lambda program: agreed.get(program, ())
        self.over, self.waits, self.failure, self.sent = "", "", None, None
        self.busy, self.heard, self.serial = False, 0.0, 1
        self.answered = lambda program: program in answered


def test_a_page_without_an_application_asks_for_a_code(public):
    assert "join code" in agent_panels.key_panel(None, public)
    for panel in (agent_panels.decision_panel, agent_panels.explanation_panel):
        assert "Not opened yet" in panel(None, public)


def test_the_page_says_who_checks_the_evaluation(public):
    panel = agent_panels.key_panel(ApplicationAgent(public), public)
    assert "Opened only if signed by the witness Auditor." in panel
    panel = agent_panels.key_panel(ApplicationAgent(public, witnesses=()), public)
    assert "the server is trusted to evaluate the program that it says" in panel


def test_the_key_is_shown_by_its_fingerprint(public):
    panel = agent_panels.key_panel(ApplicationAgent(public), public)
    assert "0123 4567" in panel and public.fingerprint in panel
    assert "Compare it with the second &lt;b&gt;" in panel
    assert "pinned, key 0000 0000 0000 0000" in panel and "abab abab abab abab" in panel
    away = ApplicationAgent(
        public,
        keys_ready=False,
        state=state_of(public, joined=["first"]),
        identities=(PartyIdentity("second", None, pinned=False),),
    )
    assert "not pinned: whoever has its join code" in agent_panels.key_panel(away, public)
    assert "still ha" in agent_panels.key_panel(away, public)


def test_every_page_shows_the_same_model_fingerprint_and_tells_to_compare_it(public):
    party = public.schema_.parties[0]
    pages = [
        joint_texts.stage_introduction(public),
        agent_panels.agent_introduction(public, party),
        texts.introduction(public),
    ]
    assert re.fullmatch(r"[0-9a-f]{4} [0-9a-f]{4} [0-9a-f]{4}", public.fingerprint)
    assert public.digest.startswith(public.fingerprint.replace(" ", ""))
    for page in pages:
        assert public.fingerprint in page and texts.COMPARE_MODELS in page


def test_agreed_parties_are_shown(public):
    names = public.schema_.party_names
    assert "No party has agreed yet" in agent_panels.decision_panel(
        ApplicationAgent(public), public
    )
    some = ApplicationAgent(public, agreed={DECIDE: names[:1]})
    assert "The first agreed; the second" in agent_panels.decision_panel(some, public)
    every = ApplicationAgent(public, agreed={EXPLAIN: names})
    assert "The explanation is being computed" in agent_panels.explanation_panel(every, public)


@pytest.mark.parametrize(
    ("status", "word", "says"),
    [
        ("queued", "Queued", "Queued: it starts as soon as"),
        ("running", "Running", "Running on the server: 0% done"),
        ("cancelled", "Decide", "The run was cancelled"),
        ("failed", "Decide", "The run failed"),
        ("done", "Decide", "The decision is being computed"),
    ],
)
def test_run_status_is_shown(public, status, word, says):
    names = public.schema_.party_names
    application = ApplicationAgent(public, agreed={DECIDE: names})
    application.member.state = state = state_of(public, joined=names, runs={DECIDE: status})
    assert says in agent_panels.decision_panel(application, public)
    assert agent_panels.agent_steps(application, public)[2].name == word
    assert stage_panels.stage_steps(state, (), public)[2].name == word
    assert agent_panels.is_under_way(application) is (status in ("queued", "running"))
    assert (agent_panels.stopped_run(application) is not None) is (
        status in ("cancelled", "failed")
    )


def test_non_reader_is_told_so(public):
    application = ApplicationAgent(public, is_reader=False, readers=("second",), answered=[DECIDE])
    panel = agent_panels.decision_panel(application, public)
    assert "Done. Only the second &lt;b&gt; learns the answer." in panel
    assert agent_panels.agent_steps(application, public)[2].done


def _shown(page, name):
    (found,) = [b for b in page.blocks.values() if b.elem_id == name]
    while found is not None and found.visible:
        found = found.parent
    return found is None


@pytest.mark.parametrize("states", [True, False])
def test_pages_offer_reasons_only_if_the_model_states_them(public, states):
    made = with_reasons(public) if states else public
    page = build_agent_page(agent_of(made, made.schema_.party_names[0]))
    stage = build_stage(made, None, Settings(agent_port=9000))
    assert _shown(page, "agree-reasons") is _shown(stage, "reasons-readers") is states
    names = [step.name for step in agent_panels.agent_steps(None, made)]
    assert ("Reasons" in names) is states
    assert ("reasons" in joint_texts.stage_protection(made)) is states
    assert ("Reasons" in [s.name for s in stage_panels.stage_steps(None, (), made)]) is states


def test_reasons_are_shown_in_the_schemas_words(public):
    public, names = with_reasons(public), public.schema_.party_names
    assert "Not stated yet" in reasons_panel(None, public)
    stated = public.schema_.stated_reasons
    values = tuple(float(len(stated) - i) for i in range(len(stated)))

    def panel(approved, values):
        run = (0.1, 10, 0.1)
        found = ReasonsOpened.of(public.schema_, ID, approved, values, run, ())
        application = ApplicationAgent(public, reasons=found)
        assert agent_panels.agent_steps(application, public)[-1].done
        return reasons_panel(application, public)

    denied = panel(False, values)
    assert denied.count("<li>") == min(4, len(stated)) and "<b>" not in denied
    assert "reasons in this model" in denied and "average of approved" in denied
    assert denied.index(escape(stated[0].text)) < denied.index(escape(stated[1].text))
    assert "No reason that this model can state" in panel(False, (0.0,) * len(stated))
    assert "<li>" not in panel(True, values) and "no reasons are needed" in panel(True, values)
    every = ApplicationAgent(public, agreed={REASONS: names})
    assert "The reasons are being computed" in reasons_panel(every, public)


def test_who_does_not_learn_the_reasons_is_told_who_does(public):
    public, names = with_reasons(public), public.schema_.party_names
    other = {"is_reader": False, "readers": ("second",)}
    done = ApplicationAgent(public, answered=[REASONS], agreed={REASONS: names}, **other)
    assert "Done. Only the second &lt;b&gt; learns the reasons." in reasons_panel(done, public)
    assert agent_panels.agent_steps(done, public)[-1].done
    waits = reasons_panel(ApplicationAgent(public, **other), public)
    assert "Only the second &lt;b&gt; will learn the reasons." in waits


def test_an_approved_party_need_not_ask_for_reasons(public):
    public, names = with_reasons(public), public.schema_.party_names
    approved = SimpleNamespace(approved=True)
    application = ApplicationAgent(public, decision=approved)
    assert not reasons_offered(application, public)
    assert "no reasons are needed" in reasons_panel(application, public)
    denied = ApplicationAgent(public, decision=SimpleNamespace(approved=False))
    assert button_states(denied, public, False)[AGREE[REASONS]].ready
    agreed = ApplicationAgent(public, agreed={REASONS: names[:1]})
    assert not button_states(agreed, public, False)[AGREE[REASONS]].visible
    assert "The first agreed" in reasons_panel(agreed, public)


def test_errors_are_shown(public):
    application = ApplicationAgent(public, awaits=("second",))
    assert "Waiting for the second &lt;b&gt;." in agent_panels.status(application, public)
    away = ApplicationAgent(public, awaited_witnesses=("Auditor",))
    assert "Waiting for the witness Auditor." in agent_panels.status(away, public)
    application.member.state = state_of(public, runs={DECIDE: "failed"})
    assert "could not compute the decision. Any party" in agent_panels.status(application, public)
    application.member.state = state_of(public, runs={EXPLAIN: "cancelled"})
    told = agent_panels.status(application, public)
    assert "Computing the explanation was cancelled. Any party can ask" in told
    application.failure = ProtocolError("<i>")
    assert "&lt;i&gt;" in agent_panels.status(application, public)
    application.waits = "The server at http://127.0.0.1:1 does not respond. Trying again in 2 s."
    waits, _, folded = agent_panels.status(application, public).partition("<details")
    assert "The service cannot be reached. Nothing is lost; it goes on by itself." in waits
    assert "http" not in waits and "http://127.0.0.1:1 does not respond." in folded
    application.busy = True
    assert "The service is busy. Nothing is lost" in agent_panels.status(application, public)
    application.over = "It is over."
    assert "It is over. Join another" in agent_panels.status(application, public)
    assert agent_panels.status(None, public) == ""


def test_buttons_that_cannot_be_pressed_say_why_and_one_is_primary(public):
    names = public.schema_.party_names

    def states(application, changed=False):
        found = button_states(application, public, changed)
        assert sum(state.primary for state in found.values()) == any(
            state.ready for name, state in found.items() if name != "leave"
        )
        return found

    before = states(None)
    assert before["join"].primary and all(
        "Join an application first" in before[name].reason for name in (SEND, *AGREE.values())
    )
    away = ApplicationAgent(public, keys_ready=False, state=state_of(public, joined=names[:1]))
    assert "The joint key is made first: the second <b>" in states(away)[SEND].reason
    ready = states(ApplicationAgent(public))
    assert ready[SEND].primary and "(step 2)" in ready[AGREE[DECIDE]].reason
    assert "The decision is opened first" in ready[AGREE[EXPLAIN]].reason
    sent = ApplicationAgent(public, has_sent=True, sent_by=names[:1])
    assert "is sent, and fixed" in states(sent)[SEND].reason
    assert "Waiting for the second <b>" in states(sent)[AGREE[DECIDE]].reason
    sent.member.sent_by = names
    assert states(sent)[AGREE[DECIDE]].primary
    assert states(sent, changed=True)[AGREE[DECIDE]].reason == RESTORE
    assert states(sent)["leave"].question == STAYS
    agreed = states(ApplicationAgent(public, agreed={DECIDE: names[:1]}))
    assert not agreed[AGREE[DECIDE]].visible
    assert "to agree to open the decision" in agreed[AGREE[EXPLAIN]].reason
    opened = ApplicationAgent(public, decision=SimpleNamespace(approved=False))
    assert states(opened)[AGREE[EXPLAIN]].ready and not states(opened)["leave"].question
    notes = notes_html(states(away))
    assert 'data-button="send"' in notes and "the second &lt;b&gt;" in notes


def test_change_after_sending_is_shown(public):
    application = ApplicationAgent(public, has_sent=True, sent_by=("first",))
    told = agent_panels.sent_panel(application, public, True)
    assert "open a new application: it has new keys" in told and "Encrypt and send" not in told
    assert "open a new application" not in agent_panels.sent_panel(application, public, False)


def test_ciphertext_that_waits_for_other_parties_is_shown(public):
    names = public.schema_.party_names
    application = ApplicationAgent(public, has_sent=True, sent_by=names[:1])
    application.sent = SliceSent(ID, "first", 9, 1234, 0.1, 0.2, "f" * 64, "ab" * 64, False, ())
    shown = agent_panels.sent_panel(application, public, False)
    assert "9 bits as 1.2 kB" in shown and "Excerpt (32 bytes)" in shown
    assert "once the second &lt;b&gt;" in shown and "Upload time" not in shown
    application.member.sent_by = names
    assert "is being sent" in agent_panels.sent_panel(application, public, False)
    application.member.upload = Message("first", SERVER, "encrypted inputs", 1234, 0.25)
    shown = agent_panels.sent_panel(application, public, False)
    assert "Upload time" in shown and "250 ms" in shown and "being sent" not in shown


def test_decision_and_explanation_are_in_the_schemas_words(public):
    decision = Decision(ID, True, 5.0, 0.25, 128, 99, 0.1, "e" * 64, "aa", ())
    said = Explanation(Outcome.ALREADY_APPROVED, "Fine <5>.", ("3-6", "6+"), (1.0, 2.0), -1, None)
    application = ApplicationAgent(
        public, decision=decision, explanation=ExplanationOpened(ID, said, 1, 10, 1, ())
    )
    panel = agent_panels.decision_panel(application, public)
    assert "Granted" in panel and "Score <strong>+5</strong>" in panel
    sign = replace(decision, score=None, log_odds=None)
    panel = agent_panels.decision_panel(ApplicationAgent(public, decision=sign), public)
    assert "Granted" in panel and "without a score" in panel and "<strong>" not in panel
    assert "Fine &lt;5&gt;." in agent_panels.explanation_panel(application, public)


def test_own_log_counts_sent_and_received_messages(public):
    messages = [
        Message("first", ALL, "hello", 300, 0.01, "f" * 64, "ab" * 64, True),
        Message("second", "first", "partial:decide", 200, 0.0, "e" * 64, "cd" * 64, True),
    ]
    log = own_timeline(messages, public, "first")
    assert "Sent 300 B, received 200 B" in log and "abababab" in log
    assert "its decryption share of the decision" in log and "not through the server" not in log


BESIDE = {
    "applicant": "An <example>",
    "score_bits": 7,
    "equal": True,
    "engines": [
        {
            "label": label,
            "secret_key": key,
            "sent_bytes": 1000,
            "seconds": dict.fromkeys(["keys", "encrypt", "decide", "explain", "open"], 0.5),
            "scores": {"decide": [-3], "explain": [-3, 4]},
        }
        for label, key in (("Levelled", "Nobody holds it."), ("Concrete", "One party makes it."))
    ],
}


def test_comparison_shows_both_engines_and_key_holders():
    panel = beside_panel(BESIDE)
    assert (
        "Both engines and the unencrypted program give the same integers" in panel
        and "An &lt;example&gt;" in panel
    )
    assert "Nobody holds it." in panel and "One party makes it." in panel
    assert "The integers differ" in beside_panel(BESIDE | {"equal": False})


def test_failed_comparison_shows_the_reason(clear_deployment):
    with pytest.raises(EvaluationFailed, match="The comparison failed"):
        run_beside(clear_deployment)
    with gr.Blocks():
        stage = Stage(joint_public(with_parties(2)), None, Settings(deployment=clear_deployment))
    told = stage.run_beside(0)
    assert "The comparison is not possible now." in told.split("<details")[0]
    assert "The comparison failed" in told.split("<details")[1]
    assert side_by_side(["--deployment", str(clear_deployment)]) == 1


def test_shipped_deployment_gives_equal_scores_on_both_engines():
    found = run_beside(ROOT / "deployment_files")
    assert found["equal"] and [e["name"] for e in found["engines"]] == ["levelled", "concrete"]
    assert "Both engines and the unencrypted program give the same integers" in beside_panel(found)
