"""The page's texts: they match the engine's facts, and are escaped for any schema."""

import html
import json
import threading
from dataclasses import replace

import pytest

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, PUBLIC_KEY
from model.explanation import CAVEAT, Explanation, Outcome, Varied, VariedPair
from parties.results import (
    ALL,
    SERVER,
    Decision,
    ExplanationOpened,
    KeysMade,
    Message,
    ProgramRun,
    SliceSent,
)
from parties.run_follower import RunNews
from tests.ui.conftest import public_of, with_parties
from ui import panels, texts
from ui.benchmark import comparison
from ui.following import followed
from ui.plot_data import plot_data
from ui.plots import explanation_figure
from ui.state import PageState
from ui.timeline import timeline
from ui.units import (
    join_words,
    show_bytes,
    show_fetched,
    show_hex,
    show_number,
    show_seconds,
)
from utils.errors import RunCancelled

ID = "ab" * 16
BINS = ("3 to under 6", "6 and more")


@pytest.fixture
def public():
    return public_of(with_parties(3))


def slice_of(party, fresh=False):
    message = Message(party, SERVER, "encrypted inputs", 1234, 0.002, "f" * 64, "00" * 64)
    return SliceSent(ID, party, 9, 1234, 0.001, 0.002, "f" * 64, "00" * 64, fresh, (message,))


def opened(explanation):
    return ExplanationOpened(ID, explanation, 0.1, 10, 0.1, ())


def decision(score=-5.0, log_odds=-0.25):
    return Decision(
        ID, bool(score and score > 0), score, log_odds, 128, 99, 0.1, "e" * 64, "aa", ()
    )


def test_texts_of_a_schema_are_escaped(public):
    for part in (texts.introduction(public), panels.party_heading(public.schema_.party("second"))):
        assert "<b>" not in part and "<kind>" not in part
    assert "Every &lt;kind&gt; &amp; more" in texts.introduction(public)


def test_the_table_repeats_the_engines_own_facts(public):
    table = texts.who_holds_what(public)
    assert public.engine.secret_key in table and public.engine.opened in table
    assert "Evaluation key" in table and "cannot read it" in table


def test_engine_without_encryption_is_not_described_as_protecting():
    public = public_of(with_parties(2), encrypted=False)
    assert "Nothing is encrypted in this run" in texts.introduction(public)
    assert "cannot read it" not in texts.who_holds_what(public)
    assert ">Protected<" not in texts.protection(public)
    message = Message("first", SERVER, "encrypted inputs", 10, 0.1)
    assert "unencrypted inputs" in timeline([message], public)


def test_shared_key_is_listed_as_not_protected(public):
    _, not_protected = texts.protection(public).split("Not protected")
    assert public.engine.secret_key in not_protected
    joint = public.model_copy(
        update={"engine": public.engine.model_copy(update={"joint_keys": True})}
    )
    assert public.engine.secret_key not in texts.protection(joint)


def test_score_is_listed_as_opened_only_if_it_is(public):
    alone = public_of(public.schema_, score_bits=1)
    assert "The score: it is opened" in texts.protection(public)
    assert "The score: it is opened" not in texts.protection(alone)
    hidden = texts.hidden_score(alone)
    assert "only approved or denied is opened" in hidden
    assert hidden in texts.protection(alone)
    assert hidden not in texts.protection(public)


def test_step_strip_follows_the_state(public):
    state = PageState()
    assert panels.strip(state, public).count('class="later"') == 3
    state.made(KeysMade(ID, "first", ("second",), 10, 20, 0.1, ()))
    for party in public.schema_.party_names:
        state.took(slice_of(party), [1])
    assert "Send 3/3" in panels.strip(state, public)
    state.compare("second", [2])
    assert "Send 2/3" in panels.strip(state, public)
    assert "Values changed since they were sent" in panels.party_panel(
        state, public.schema_.party("second")
    )
    state.compare("second", [1])
    assert not state.changed


def test_keys_panel_names_the_receivers_of_the_key(public):
    state = PageState()
    state.made(KeysMade(ID, "first", ("second", "party2"), 4000, 3_000_000, 0.1, ()))
    panel = panels.keys_panel(state, public)
    assert "given to the second &lt;b&gt; and the party 2, never to the server" in panel
    assert "3.0 MB" in panel


def test_a_decision_without_a_score_shows_none(public):
    state = PageState(decision=decision(score=None, log_odds=None))
    panel = panels.decision_panel(state, public)
    assert "without a score" in panel and "ts-gauge" not in panel


def test_a_referral_on_a_page_of_all_parties_promises_no_review(public):
    """A person would have no page on which to conclude it."""
    state = PageState(decision=replace(decision(score=None, log_odds=None), referred=True))
    panel = panels.decision_panel(state, public)
    assert "opens no review. On the parties' own pages, a person" in html.unescape(panel)
    assert "you will hear" not in panel
    assert panels.PLAYS_ALL_PARTIES not in panels.decision_panel(
        PageState(decision=decision()), public
    )


@pytest.mark.parametrize(("score", "word"), [(-5.0, "Refused"), (5.0, "Granted")])
def test_the_decision_is_in_the_schemas_words(public, score, word):
    panel = panels.decision_panel(PageState(decision=decision(score)), public)
    assert f'<p class="ts-word">{word}</p>' in panel
    assert show_number(score) in panel


def test_new_record_clears_old_results(public):
    state = PageState(decision=decision())
    state.took(slice_of("first", fresh=True), [1])
    assert state.decision is None
    assert "a new one was opened" in panels.party_panel(state, public.schema_.party("first"))


def test_the_log_names_senders_and_counts_what_the_server_received(public):
    handed = Message("first", "second", "secret key", 4000, 0.0)
    log = timeline([slice_of("first").messages[0], handed], public)
    assert "2 messages; the server received 1.2 kB" in log
    assert "not through the server" in log and "<b>First</b> → <b>Server</b>" in log
    assert "No messages yet" in timeline([], public)


def test_the_explanation_shows_its_text(public):
    other = Varied("C", Outcome.NOT_TURNED, "Not <7>.", ("7",), (-1.0,), None, None)
    pair = VariedPair(("B", "C"), "Both <7>.", ("6", "7"), 2)
    said = Explanation(
        Outcome.TURNED, "With <5> levels.", BINS, (-1.0, 2.0), 1, 2, 1, (other,), pair
    )
    shown = panels.explanation_panel(PageState(explained=opened(said)), public)
    cells = '<th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td>'
    assert cells.format(BINS[0], "−1", "refused", "now") in shown
    assert cells.format(BINS[1], "2", "granted", "changes it") in shown
    assert "With &lt;5&gt; levels.</p>" in shown
    assert f"<li>Not &lt;7&gt;.</li><li>Both &lt;7&gt;.</li><li>{CAVEAT}</li>" in shown
    alone = replace(said, others=(), pair=None)
    assert "<li>" not in panels.explanation_panel(PageState(explained=opened(alone)), public)


@pytest.mark.parametrize("program", [DECIDE, EXPLAIN])
def test_run_status_is_in_strip_and_panel(public, program):
    state = PageState()
    own, other = panels.run_panel, panels.explanation_panel
    if program == EXPLAIN:
        own, other = other, own
    before = other(state, public)
    state.asks(program)
    for status, share, text, says in (
        ("waiting", 0.0, "It is <busy>. Trying again in 2 s.", "Nothing is lost; it goes on by"),
        ("queued", 0.0, "", "Queued: it starts as soon as a worker is free."),
        ("running", 0.4, "", "Running on the server: 40% done.</p><progress"),
    ):
        found = None if status == "waiting" else ProgramState(status=status, progress=share)
        state.news = RunNews(program, status, found, text)
        assert says in own(state, public) and other(state, public) == before
        assert "<busy>" not in own(state, public)
        assert panels.strip(state, public).count(f"<span>{status.capitalize()}</span>") == 1
    state.heard()
    state.cancelled = program
    assert (
        "Cancelled. You can run it again" in own(state, public) and other(state, public) == before
    )
    state.asks(program)
    assert "Cancelled" not in own(state, public)


@pytest.mark.parametrize(
    ("progress", "runs", "left", "says"),
    [
        (0.0, 5, None, "Run 1 of 5, one for each value that is tried."),
        (0.4, 5, 41, "Run 3 of 5, one for each value that is tried; about 41 s left."),
        (0.6, 5, 130, "Run 4 of 5, one for each value that is tried; about 2 min left."),
        (1.0, 5, 0, "Run 5 of 5, one for each value that is tried; about 1 s left."),
        (0.4, 1, 41, "Running on the server: 40% done."),
    ],
)
def test_explanation_by_several_runs_shows_run_and_remaining_time(progress, runs, left, says):
    assert says == panels.run_words(
        ProgramState(
            status="running",
            phase="evaluating",
            progress=progress,
            runs=runs,
            remaining_seconds=left,
        )
    )


def test_loading_of_key_is_phase_of_its_own(public):
    state = PageState()
    state.asks(DECIDE)
    loading = ProgramState(status="running", phase="loading_key")
    state.news = RunNews(DECIDE, "running", loading)
    shown = panels.run_panel(state, public)
    assert "Loading the key" in shown and "% done" not in shown
    assert "<progress" in shown and "value=" not in shown
    state.heard()
    done = ProgramState(status="done", seconds=0.5, loading_seconds=2.5)
    state.ran(ProgramRun.of("id", DECIDE, done, 3.2, ()))
    assert "Key loaded in</dt><dd>2.5 s" in panels.run_panel(state, public)
    state.ran(ProgramRun.of("id", DECIDE, done.model_copy(update={"loading_seconds": 0.0}), 1, ()))
    assert "Key loaded" not in panels.run_panel(state, public)


def test_followed_call_yields_progress_then_result():
    first, second = RunNews(DECIDE, "queued"), RunNews(DECIDE, "running")
    go_on = threading.Event()

    def call(tell):
        tell(first)
        go_on.wait(10)
        tell(second)
        return 7

    answers = []

    def steps():
        answers.append((yield from followed(call, lambda news: news.status)))

    each = steps()
    assert next(each) == "queued"
    go_on.set()
    assert list(each) in (["running"], [])  # an outdated report need not be shown
    assert answers == [7]

    def fail(tell):
        raise RunCancelled("ended")

    with pytest.raises(RunCancelled):
        next(followed(fail, str))


@pytest.mark.parametrize(
    ("current", "turning", "marked"),
    [
        (1, 2, ["3 to<br>under 6<br><b>now</b>", "6<br>and more<br><b>changes it</b>"]),
        (0, 2, ["3 to<br>under 6", "6<br>and more<br><b>changes it</b>"]),
        (0, None, ["3 to<br>under 6", "6<br>and more"]),
        (-1, None, ["3 to<br>under 6", "6<br>and more"]),
    ],
)
def test_plot_marks_own_and_deciding_bin(public, current, turning, marked):
    said = Explanation(Outcome.TURNED, "", BINS, (-1.0, 2.0), current, turning, 1)
    figure = explanation_figure(said, public.schema_)
    assert list(figure.data[0].y) == [-1.0, 2.0]
    assert list(figure.layout.xaxis.ticktext) == marked
    assert figure.layout.yaxis.range[0] < -1 and figure.layout.yaxis.range[1] > 2


def test_plot_of_signs_has_tiles_of_one_height_with_marks(public):
    said = Explanation(Outcome.TURNED, "", BINS, (-1.0, 0.0), 1, 2, 1)
    figure = explanation_figure(said, public.schema_, signs=True)
    (tiles,) = figure.data
    assert len(set(tiles.y)) == 1
    assert list(tiles.text) == ["✕", "✓"] and list(tiles.hovertext) == ["refused", "granted"]
    assert len(set(tiles.marker.color)) == 2
    assert "now" in figure.layout.xaxis.ticktext[0]
    assert "changes it" in figure.layout.xaxis.ticktext[1]
    (legend,) = figure.layout.annotations
    assert "granted" in legend.text and "refused" in legend.text
    assert figure.layout.yaxis.showticklabels is False and not figure.layout.shapes


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("narrow", [True, False])
def test_plot_has_titled_axes_and_no_toolbar(public, signs, narrow):
    said = Explanation(Outcome.TURNED, "", BINS, (-1.0, 2.0), 1, 2, 1)
    figure = explanation_figure(said, public.schema_, signs, narrow)
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    sent = plot_data(figure)
    assert sent.type == "plotly"
    assert json.loads(sent.plot)["config"] == {"displayModeBar": False}


def test_many_bins_show_their_smallest_values_turned_where_they_are_long(public):
    """At 16 bins, whole labels would overlap; the hover text has them."""
    for scale, angle in ((1, 0), (10_000, -90)):
        edges = [scale * i for i in range(-8, 8)]
        labels = [f"{low} to under {low + scale}" for low in edges]
        said = Explanation(Outcome.TURNED, "", tuple(labels), (-1.0,) * 9 + (1.0,) * 7, 8, 9)
        figure = explanation_figure(said, public.schema_, signs=True, narrow=True)
        axis = figure.layout.xaxis
        assert axis.tickangle == angle and axis.title.text.endswith(", from")
        assert [axis.ticktext[i] for i in (0, 7, 15)] == [str(edges[i]) for i in (0, 7, 15)]
        assert "now" in axis.ticktext[8] and "changes it" in axis.ticktext[9]
        assert list(figure.data[0].customdata) == labels
    assert axis.ticktext[9] == "<b>changes it</b> 10000"


def test_a_plot_of_equal_scores_has_room(public):
    said = Explanation(Outcome.NOT_TURNED, "", BINS[1:], (0.0,), 0, None, 2)
    low, high = explanation_figure(said, public.schema_).layout.yaxis.range
    assert low < 0 < high


def test_missing_benchmark_shows_how_to_run_it(tmp_path):
    assert "make bench" in comparison(tmp_path)
    (tmp_path / "benchmark.json").write_text("not json")
    assert "make bench" in comparison(tmp_path)


def test_a_benchmark_is_shown_as_measured(tmp_path):
    found = {
        "ratios": {"decide_vs_concrete_ml": 251.4, "explain_vs_concrete_ml": 3.21, "other": 1},
        "machine": {"cpu": "two <cores>"},
        "rows": [
            {"name": "decide", "value": 0.0723, "unit": "s"},
            {"name": "inputs, credit_agency", "value": 0.639, "unit": "MB"},
            {"name": "fails with probability 2^", "value": -97.7},
            {"name": "tables", "value": 2280, "concrete_ml": 4.4e-6},
        ],
    }
    (tmp_path / "benchmark.json").write_text(json.dumps(found))
    shown = comparison(tmp_path)
    assert "251×" in shown and "3.2×" in shown
    assert "Inputs, credit agency<" in shown and "639 kB" in shown
    assert "probability<" in shown and "2<sup>−97.7</sup>" in shown
    assert "2,280" in shown and "0.000004" in shown
    assert "72 ms" in shown and "cpu: two &lt;cores&gt;" in shown


def test_benchmark_shows_levelled_with_all_other_engines(tmp_path):
    row = {"name": "decide", "unit": "s", "levelled": 0.011, "concrete": 0.17}
    row |= {"levelled_40x3": 0.03, "concrete_ml": 14.4, "ratio": 480.4}
    found = {
        "ratios": {"levelled_decide_vs_concrete_ml": 480.4},
        "levelled_rows": [row],
        "rows": [],
    }
    (tmp_path / "benchmark.json").write_text(json.dumps(found))
    shown = comparison(tmp_path)
    assert "<b>480×</b>" in shown and "Levelled, 40 x 3" in shown
    assert all(value in shown for value in ("11 ms", "170 ms", "30 ms", "14.4 s", "480.4×"))


@pytest.mark.parametrize(
    "found",
    [
        {},
        [],
        {"ratios": 3, "rows": "x"},
        {"rows": [1, {}], "ratios": {"decide_vs_concrete_ml": "a"}},
    ],
)
def test_malformed_benchmark_is_tolerated(tmp_path, found):
    (tmp_path / "benchmark.json").write_text(json.dumps(found))
    assert "Traceback" not in comparison(tmp_path)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (show_bytes(999), "999 B"),
        (show_bytes(1234), "1.2 kB"),
        (show_bytes(27_400_000), "27 MB"),
        (show_fetched(33_000, 0.0721), "33 kB in 72 ms"),
        (show_fetched(33_000, 0.0), "33 kB"),
        (show_seconds(0.0), "< 0.1 ms"),
        (show_seconds(0.0721), "72 ms"),
        (show_seconds(185), "3 min 5 s"),
        (show_number(-3.0), "−3"),
        (show_number(0.0), "0"),
        (show_number(2.504), "+2.5"),
        (show_hex("00112233445566"), "00112233 445566"),
        (join_words(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_units_are_formatted_readably(shown, text):
    assert shown == text


def test_joint_keys_on_one_page_state_that_one_process_plays_all(public):
    engine = public.engine.model_copy(update={"joint_keys": True})
    slots = [s.model_copy(update={"file_name": PUBLIC_KEY}) for s in public.slots[:1]]
    joint = public.model_copy(update={"engine": engine, "slots": tuple(slots)})
    state = PageState()
    keys = KeysMade(
        client_id=ID,
        holder="",
        shared_with=(),
        secret_bytes=545,
        evaluation_bytes=16_416,
        seconds=0.1,
        messages=(Message("first", ALL, "hello", 500, 0.01, "a" * 64, "bb", relayed=True),),
        joint=True,
        parts_of=("first", "second", "party2"),
        fingerprint="0123 4567 89ab cdef 0123",
    )
    state.made(keys)
    panel = panels.keys_panel(state, joint)
    assert "0123 4567 89ab cdef 0123" in panel
    assert show_bytes(545) in panel and show_bytes(16_416) in panel
    assert "one process plays all parties" in panel and "never made" in panel
    assert "could bring the parts of the secret key together" in texts.protection(joint)
    assert "Public key" in texts.who_holds_what(joint)
    log = timeline(state.messages, joint)
    assert "all parties" in log and "not through the server" not in log and show_bytes(500) in log
    renewed = KeysMade(**{**keys.__dict__, "client_id": "cd" * 16, "fingerprint": "ffff"})
    sent = slice_of("first", fresh=True)
    state.took(SliceSent(**{**sent.__dict__, "keys": renewed}), [1])
    assert "ffff" in panels.keys_panel(state, joint) and "cdcdcdcd" in panels.keys_panel(
        state, joint
    )
    assert "with new joint keys" in panels.party_panel(state, joint.schema_.party("first"))
