"""Playing an application: which step is next, the buttons, and the end of a play."""

from types import SimpleNamespace

import gradio as gr
import pytest

from contract.http import Opened
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN, PUBLIC_KEY, REASONS
from parties.joint.codes import JointOpening
from settings import Settings
from tests.parties.running import until
from tests.ui.conftest import with_parties
from tests.ui.test_joint_pages import ID, item, joint_public, state_of, with_reasons
from ui.buttons import notes_html
from ui.stage import playing
from ui.stage.controls import ELSEWHERE, ENDED, PLAYING, UNDER_WAY, controls_of
from ui.stage.figures import figures
from ui.stage.opened import KEPT, OpenedApplications
from ui.stage.page import Stage, Watched
from ui.stage.panels import stage_steps, step_note
from ui.stage.playing import FINISHED, KEY, SEND, WAITING, Due, Play, due
from ui.stage.presence import Presence
from ui.steps import show_steps
from utils.errors import NotAuthorised, OutOfStep

NAMES = ("first", "second")


@pytest.fixture(scope="module")
def public():
    return with_reasons(joint_public(with_parties(2)))


class Application:
    """An application in the clear whose parties act as they are told."""

    def __init__(self, public, approved=False):
        self.public, self.approved = public, approved
        self.joined, self.filled, self.traffic_ = NAMES, [(NAMES[0], PUBLIC_KEY)], []
        self.told, self.refusals = [], {}

    def note(self, sender, what):
        self.traffic_.append(item(len(self.traffic_) + 1, sender, what))

    def state(self, *_):
        return state_of(self.public, self.joined, self.filled).model_copy(
            update={"explanation_readers": NAMES, "reasons_readers": NAMES[:1]}
        )

    def traffic(self, *_):
        return type("Traffic", (), {"items": tuple(self.traffic_)})

    def take(self, party, client_id, step, example):
        self.told.append((party, step, example))
        if self.refusals.get(step):
            raise self.refusals[step].pop()
        if step == SEND:
            self.note(party, "record_commit")
            self.filled.append((party, ENCRYPTED_INPUTS))
            return True
        if step == REASONS and self.approved:
            return False
        self.note(party, f"agree:{step}")
        self.note(party, f"partial:{self.public.final(step)}")
        return True

    def due(self, needless=False):
        return due(self.state(), self.traffic_, self.public, needless)


@pytest.fixture
def application(public, monkeypatch):
    monkeypatch.setattr(playing, "POLL_SECONDS", 0.001)
    return Application(public)


def play_of(application, example=1, single=False):
    play = Play(application, application, application.public, ID, "token")
    play.start(example, single)
    until(lambda: not play.running)
    return play


def test_steps_follow_each_other_to_the_end(application):
    application.filled.clear()
    assert application.due() == Due(KEY)
    application.filled.append((NAMES[0], PUBLIC_KEY))
    assert application.due() == Due(SEND, NAMES)
    application.take("second", ID, SEND, 0)
    assert application.due() == Due(SEND, ("first",))
    application.note("first", "record_commit")
    assert application.due() == Due(SEND)  # on its way to the server
    application.filled.append((NAMES[0], ENCRYPTED_INPUTS))
    assert application.due() == Due(DECIDE, NAMES)
    for name in NAMES:
        application.note(name, "agree:decide")
    assert application.due() == Due(DECIDE)
    for name in NAMES:
        application.note(name, "partial:decide")
    assert application.due() == Due(EXPLAIN, NAMES)


def test_a_play_takes_every_step_of_both_parties(application):
    play = play_of(application)
    assert play.problem is None and application.due() == Due(FINISHED)
    steps = [SEND, DECIDE, EXPLAIN, REASONS]
    assert {step for _, step, _ in application.told} == set(steps)
    assert {example for *_, example in application.told} == {1}
    for step in steps:
        assert {name for name, told, _ in application.told if told == step} == set(NAMES)


def test_an_approved_application_needs_no_reasons(application, public):
    application.approved = True
    play = play_of(application)
    assert play.needless and application.due(needless=True) == Due(FINISHED)
    steps = stage_steps(application.state(), application.traffic().items, public, needless=True)
    assert all(step.done for step in steps) and steps[-1].needless
    strip = show_steps(steps)
    assert strip.count('class="done"') == len(steps) and "aria-current" not in strip
    # One party says so before any agrees.
    assert [told for told in application.told if told[1] == REASONS] == [("first", REASONS, 1)]


def test_a_single_step_ends_before_the_next(application):
    play = play_of(application, single=True)
    assert application.due() == Due(DECIDE, NAMES) and play.problem is None
    play.start(1, True)
    until(lambda: not play.running)
    assert application.due() == Due(EXPLAIN, NAMES)


def test_an_agent_that_is_behind_is_asked_again_and_a_refusal_ends_the_play(application):
    application.refusals = {DECIDE: [OutOfStep("not yet")], EXPLAIN: [NotAuthorised("Not you.")]}
    play = play_of(application)
    assert application.due().step == EXPLAIN and play.problem.message == "Not you."
    play.start(1, False)
    until(lambda: not play.running)
    assert play.problem is None and application.due() == Due(FINISHED)


def test_a_play_without_progress_gives_up(application, monkeypatch):
    monkeypatch.setattr(playing, "PATIENCE_SECONDS", 0.02)
    application.filled.clear()
    assert "Nothing has happened for a while" in play_of(application).problem.message


def test_one_button_is_the_main_one_and_a_disabled_one_says_why(application, public):
    class Playing:
        running = True

    at = {step: Due(step, NAMES) for step in ("", SEND, DECIDE, EXPLAIN, REASONS)}
    at |= {"waiting": Due(DECIDE), "finished": Due(FINISHED), KEY: Due(KEY)}
    for play in (None, Playing()):
        for step in at.values():
            for plays in (True, False):
                found = controls_of(step, play, plays, public)
                buttons = [found.play, found.next, found.new]
                states = [button.state for button in buttons]
                assert [state.primary for state in states].count(True) == 1
                assert not any(state.primary and state.reason for state in states)
                named = dict(zip(("play", "next", "new"), states, strict=True))
                assert found.notes == notes_html(named)
    assert controls_of(at[SEND], Playing(), True, public).next.state.reason == PLAYING
    assert controls_of(at["waiting"], None, True, public).next.state.reason == WAITING[DECIDE]
    assert controls_of(at["finished"], None, True, public).next.state.reason == ENDED
    assert controls_of(at[SEND], None, False, public).next.state.reason == ELSEWHERE
    assert controls_of(at[SEND], None, True, public).chooses
    assert not controls_of(at[DECIDE], None, True, public).chooses


def test_the_current_step_is_told_with_its_number(application, public):
    state = application.state()
    assert "Step 2 of 5. To do: the first and the second" in step_note(
        Due(SEND, NAMES), False, state, public
    )
    assert "Step 5 of 5. To do, if denied: the first" in step_note(
        Due(REASONS, NAMES), False, state, public
    )
    played = step_note(Due(DECIDE, ("first",)), True, state, public)
    assert "Step 3 of 5. The first agrees to open the decision." in played
    assert "data-playing" in played
    running = state_of(public, NAMES, runs={DECIDE: "running"})
    told = step_note(Due(DECIDE), True, running, public)
    assert "Step 3 of 5: the decision, 0% computed." in told and "<progress" in told
    assert "Finished" in step_note(Due(FINISHED), False, state, public)


def test_times_of_server_and_witness_are_apart_and_sizes_add_up(application, public):
    state = application.state()
    runs = {
        name: run.model_copy(update={"status": "done", "seconds": 0.25, "result_bytes": 3000})
        if name == DECIDE
        else run
        for name, run in state.programs.items()
    }
    witness = {"name": "Auditor", "key": "cd" * 32}
    state = (
        type(state)
        .model_validate(state.model_dump() | {"witnesses": [witness]})
        .model_copy(update={"programs": runs})
    )
    last = [
        {"application": ID[:8], "program": DECIDE, "seconds": 0.125},
        {"application": "another0", "program": DECIDE, "seconds": 9.0},
    ]
    traffic = [
        item(1, "first", PUBLIC_KEY, "server", 16000),
        item(2, "second", ENCRYPTED_INPUTS, "server", 5000),
        item(3, "first", ENCRYPTED_INPUTS, "server", 5000),
        item(4, "server", "result of decide", "first", 3000),
        item(5, "first", "hello", None, 100),
    ]
    shown = figures(state, traffic, {"key": witness["key"], "last": last}, public)
    assert '<td data-who="Server">250 ms</td><td data-who="Witness Auditor">125 ms</td>' in shown
    assert '<td data-who="Messages">2</td><td data-who="Size">10 kB</td>' in shown
    assert '<td data-who="Messages">1</td><td data-who="Size">16 kB</td>' in shown
    assert "not known here" in figures(state, traffic, {}, public)


def test_join_codes_are_given_to_the_holder_of_the_watch_token_only(application, public):
    def play_of(client_id, token):
        return Play(application, application, public, client_id, token)

    opened = OpenedApplications(play_of)
    made = opened.add(JointOpening(ID, {"first": "a code"}, "its token"))
    assert opened.find(ID, "its token") is made
    assert opened.find(ID, "another") is opened.find(ID, "") is opened.find("cd" * 16, "x") is None
    assert "a code" not in repr(made) and "its token" not in repr(made)
    for i in range(KEPT):
        opened.add(JointOpening(f"{i:032x}", {}, "token"))
    assert opened.find(ID, "its token") is None  # the oldest


class Opener:
    """A server that opens applications and has no news of them."""

    def __init__(self, application):
        self.application, self.count = application, 0

    def open_application(self, *readers):
        self.count += 1
        codes = dict.fromkeys(NAMES, "c" * 43)
        return Opened(
            client_id=f"{self.count:032x}",
            expires_at="2026-01-02T00:00:00+00:00",
            join_codes=codes,
            watch_token=f"token{self.count}",
        )

    def state(self, *_):
        return self.application.state()

    def traffic(self, *_):
        return self.application.traffic()


def test_an_application_under_way_is_left_only_after_a_question(application, public, monkeypatch):
    monkeypatch.setattr(Presence, "require_all", lambda self: None)  # there are no processes
    with gr.Blocks():
        stage = Stage(public, Opener(application), Settings())
    watched, request = Watched(), SimpleNamespace(headers={"host": "127.0.0.1"})
    place = {name: stage.outputs.index(getattr(stage, name)) for name in ("frames", "notes")}
    chosen = [list(NAMES), list(NAMES), list(NAMES[:1]), request]

    def asks(view):
        return UNDER_WAY in view[place["notes"]]

    assert not asks(stage.arrive(Watched(), "", request))
    first = stage.open(watched, *chosen)
    assert "<iframe" in first[place["frames"]] and watched.fragment.endswith(f"{1:032x}.token1")
    assert asks(first)
    view = stage.open(watched, *chosen)  # the person leaves it
    assert "<iframe" in view[place["frames"]] and watched.client_id == f"{2:032x}"
    assert view[place["frames"]] != first[place["frames"]]
    play_of(application)  # to its end
    assert not asks(stage._look(watched))  # nothing is asked after the end
    again = Watched()
    view = stage.arrive(again, f"#watch={1:032x}.token1", request)
    assert view[place["frames"]] == first[place["frames"]]
    view = stage.arrive(Watched(), f"#watch={1:032x}.token2", request)
    assert "<iframe" not in view[place["frames"]]


def test_a_refusal_ends_with_the_choice_that_caused_it(application, public):
    with gr.Blocks():
        stage = Stage(public, Opener(application), Settings())
    watched, request = Watched(), SimpleNamespace(headers={"host": "127.0.0.1"})
    why = stage.outputs.index(stage.refusal)
    view = stage.open(watched, [], [], [], request)
    assert "Choose at least one party" in view[why] and not watched.client_id
    assert "Choose at least one party" not in stage._choose(watched, [NAMES[0]])[why]
    stage._choose(watched, [])
    assert watched.refused is not None  # also if an earlier choice was handled late
