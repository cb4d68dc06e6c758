"""The words, rules and numbers of a training's page, without a browser."""

import re
from pathlib import Path

import numpy as np
import pytest

from features.encoding import Layout
from features.schema import Schema
from federated.agents.at_work import AtWork
from federated.agents.progress import LenderView, TrainingView, TreeView, dated
from federated.agents.rounds import Rounds
from federated.boosting.trees import Split, Tree, margins
from federated.plan import Plan
from settings import ROOT, Settings
from tests.ui.conftest import EVERY_KIND
from ui.federated import charts, panels, texts
from ui.federated.importance import column_importance, party_importance
from ui.federated.rules import condition, rules_of
from utils.errors import ServerUnreachable

GERMAN = Schema.load(ROOT / "features" / "german_credit.json")
KINDS = Layout(Schema.parse(EVERY_KIND))
UNIT = 1 << 20


def view_of(state="running", trees=(), **more):
    return TrainingView(
        training_id="ab" * 16,
        name="coordinator",
        state=state,
        trees_planned=10,
        trees=trees,
        **more,
    )


def tree_of(number, lenders=("a", "b", "c"), levels=3, **more):
    return TreeView(number=number, lenders=lenders, levels=levels, **more)


class StandIn:
    """An agent with a given view; `run` raises `error` if there is one."""

    serial, known_plan, trees = 0, Plan(schema=GERMAN), ()

    def __init__(self, view, error=None):
        self._view, self._error = view, error
        self.stopped = False

    def view(self):
        return self._view

    def events(self):
        return ()

    def rounds(self):
        return ()

    def run(self, report=None):
        if self._error is not None:
            raise self._error
        return self._view

    def stop(self):
        self.stopped = True


def bit(column, label):
    code = KINDS.code(column)
    return code.first_bit + code.bit_labels.index(label)


@pytest.mark.parametrize(
    ("column", "states", "words"),
    [
        ("Flag", [0, 1], "Flag is yes"),
        ("Maybe", [1, 0, 1], "Maybe is no or unknown"),
        ("Maybe", [0, 0, 1], "Maybe is unknown"),
        ("Maybe", [1, 1, 0], "Maybe is known"),
        ("Colour", [0, 1], "Colour is blue"),
        ("Mood", [1, 0, 1], "Mood is good or unknown"),
        ("Amount", [1, 0, 0], "Amount < 2.5"),
        ("Amount", [0, 1, 0], "Amount ≥ 2.5 and < 5"),
        ("Level", [0, 1, 1], "Level ≥ 3 steps"),
        ("Perhaps", [1, 0, 1], "Perhaps < 5 or unknown"),
        ("Perhaps", [1, 1, 1], ""),
    ],
)
def test_conditions_say_which_values_are_possible(column, states, words):
    assert condition(KINDS.code(column), np.array(states, bool)) == words


def test_a_category_names_what_is_left_out_if_that_is_less():
    code = Layout(GERMAN).code("purpose")
    states = np.ones(code.n_states, bool)
    states[0] = False
    assert condition(code, states) == f"{code.column.label} is not {code.state_labels[0]}"


def test_rules_merge_the_splits_of_a_column_and_keep_the_leaves():
    tree = Tree(
        root=0,
        splits=(
            Split(node=0, bit=bit("Amount", ">= 5"), left=0, right=UNIT),
            Split(node=1, bit=bit("Amount", ">= 2.5"), left=-UNIT, right=UNIT // 2),
        ),
    )
    found = [(rule.conditions, rule.value) for rule in rules_of(tree, KINDS)]
    assert found == [
        (("Amount < 2.5",), -1.0),
        (("Amount ≥ 2.5 and < 5",), 0.5),
        (("Amount ≥ 5",), 1.0),
    ]
    states = np.zeros((len(KINDS.codes), 3), np.uint8)
    amount = next(i for i, code in enumerate(KINDS.codes) if code.column.name == "Amount")
    states[amount] = [0, 1, 2]
    assert (margins([tree], KINDS, states) / UNIT).tolist() == [value for _, value in found]
    assert rules_of(Tree(root=UNIT), KINDS)[0].conditions == ()


def test_importance_sums_the_differences_between_the_sides():
    flag, level = bit("Flag", "is true"), bit("Level", ">= 3")
    tree = Tree(
        root=0,
        splits=(
            Split(node=0, bit=flag, left=-UNIT, right=UNIT),
            Split(node=2, bit=level, left=UNIT, right=2 * UNIT),
        ),
    )
    columns = column_importance([tree, tree], KINDS)
    assert [(one.code.column.name, one.splits, one.spread) for one in columns] == [
        ("Flag", 2, 5.0),
        ("Level", 2, 2.0),
    ]
    parties = party_importance(columns, KINDS)
    assert [(one.splits, one.spread) for one in parties] == [(2, 5.0), (2, 2.0)]
    shown = panels.importance_panel(parties, columns)
    assert "Second &lt;b&gt;" in shown and "<b>" not in shown and "71%" in shown
    figure = charts.importance_figure(columns)
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text


def test_states_are_said_in_a_sentence():
    grown = (tree_of(0), tree_of(1, levels=2))
    lenders = (LenderView(name="a", status="joined"), LenderView(name="b", status="expected"))

    def words(view, kind="coordinator", **more):
        return texts.state_words(view, kind, 3, **more)

    assert words(view_of("starting", lenders=lenders)).startswith("1 of 2 lenders have joined.")
    running = view_of(trees=grown, seconds=10.0)
    assert words(running) == "Tree 2 of 10, 2 of 3 levels; about 40 s left."
    assert texts.progress(running, 3) == pytest.approx((1 + 2 / 3) / 10)
    assert "cancelled" in words(running, ending=True)
    assert words(running, "lender", ending=True) == texts.ENDING["lender"]
    assert words(running, error="No server.").startswith("Stopped: No server.")
    assert "3 of 5" in words(view_of("paused", reason="3 of 5 lenders are here."))
    ended = (tree_of(0, auc=0.7), tree_of(1, auc=0.8), tree_of(2, auc=0.75))
    done = words(view_of("finished", ended, kept=2, auc=0.75))
    assert done.startswith("Finished: 2 trees, validation AUC 0.8000. 3 were grown")
    assert "takes no further part. A reason." in words(view_of("failed", reason="A reason."))


def test_the_page_names_the_folder_of_the_codes_only_before_the_start():
    work = AtWork("coordinator", StandIn(view_of()), lambda: None, {}, Path("/home/codes"))
    assert "/home/codes" in panels.codes_note(work, view_of("starting"))
    assert panels.codes_note(work, view_of("running")) == ""


def test_everything_from_others_is_escaped_and_a_lost_server_is_an_alert():
    evil = "<img src=x onerror=alert(1)>"
    view = view_of(
        "running",
        (tree_of(0, lenders=(evil,), ended_early=True),),
        lenders=(LenderView(name=evil, status="away", reason=evil, since=0.0),),
        problem=evil,
    )
    work = AtWork("coordinator", StandIn(view), lambda: None, {})
    shown = (
        panels.state_panel(work, view, Plan(schema=GERMAN))
        + panels.lenders_table(view, "coordinator")
        + panels.charts_tables(view, ())
    )
    assert "<img" not in shown and shown.count("&lt;img") >= 4
    assert 'role="alert"' in shown and "goes on by itself" in shown
    assert re.search(r"away since \d\d:\d\d:\d\d", shown)
    figures = charts.strip_figure(view).to_json() + charts.auc_figure(view).to_json()
    assert "<img" not in figures and "\\u003cimg" not in figures


def test_charts_mark_drop_outs_and_are_empty_before_the_first_tree():
    lenders = tuple(LenderView(name=name, status="working") for name in "abcd")
    trees = (
        tree_of(0, lenders=tuple("abcd"), auc=0.6),
        tree_of(1, lenders=tuple("abcd"), auc=0.61, ended_early=True),
        tree_of(2, lenders=tuple("abc"), auc=0.62),
        tree_of(3, lenders=tuple("abcd")),
    )
    view = view_of(trees=trees, lenders=lenders)
    line, fewer, early = charts.auc_figure(view).data
    assert (list(line.x), list(fewer.x), list(early.x)) == ([1, 2, 3], [3], [2])
    strip = [list(row) for row in charts.strip_figure(view).data[0].z]
    assert strip == [[1, 2, 1, 1]] * 3 + [[1, 2, 0, 1]]
    for figure in (charts.auc_figure(view), charts.strip_figure(view)):
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    assert texts.spans([1, 2, 4]) == "1–2, 4"
    assert not charts.auc_figure(view_of()).data and not charts.bytes_figure(()).data


def test_rounds_have_the_bytes_between_two_openings_and_states_their_time():
    rounds = Rounds(())
    for level, total in ((1, 100), (1, 150), (2, 400)):
        rounds.note((tree_of(0, levels=level),), total)
    assert [(one.level, one.bytes) for one in rounds.all()] == [(0, 100), (1, 300)]
    figure = charts.bytes_figure(rounds.all())
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    tables = panels.charts_tables(view_of(trees=(tree_of(0),)), rounds.all())
    assert '<th scope="row">2</th><td>1</td><td>2</td><td>300 B</td>' in tables
    again = Rounds((tree_of(0, levels=2),))
    again.note((tree_of(0, levels=2),), 50)
    assert again.all() == (), "what was opened before this process is not counted"
    before = view_of(lenders=(LenderView(name="a", status="working", since=3.0),))
    kept = dated(before, before, 9.0).lenders[0]
    away = dated(before, view_of(lenders=(LenderView(name="a", status="away"),)), 9.0).lenders[0]
    assert (kept.since, away.since) == (3.0, 9.0)


def test_what_others_see_follows_the_plan():
    plain, noisy = (
        Plan(schema=GERMAN),
        Plan.parse(
            {
                "schema": GERMAN.model_dump(mode="json"),
                "privacy": {"noise_multiplier": 1.0, "delta": 1e-6},
            }
        ),
    )
    for kind in ("coordinator", "lender"):
        hidden, known = texts.seen(kind, plain)
        assert texts.SUMS in hidden and any("No noise" in one for one in known)
        hidden, known = texts.seen(kind, noisy)
        assert any("adds noise" in one for one in hidden)
        assert not any("No noise" in one for one in known)


def test_an_agent_that_fails_stays_on_its_page_and_then_raises():
    error = ServerUnreachable("The server is gone.")
    agent = StandIn(view_of(), error)
    work = AtWork("lender", agent, lambda: None, {})
    seen = []

    class Pages:
        def __enter__(self):
            return lambda given, settings, port: seen.append((given, port))

        def __exit__(self, *_):
            return None

    with pytest.raises(ServerUnreachable):
        work.run(print, Settings(_env_file=None), 5000, Pages)
    assert seen == [(work, 5000)] and agent.stopped and work.error is error
    assert "Stopped: The server is gone." in panels.state_panel(work, view_of(), None)
