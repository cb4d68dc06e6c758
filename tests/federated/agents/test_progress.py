"""Sentences about a training's changes, and the lines on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from federated.agents.progress import Events, LenderView, TrainingView, TreeView, changes_between
from federated.agents.reporting import Reporter, print_end


def view_of(status: str = "working", **more) -> TrainingView:
    lender = LenderView(name="north", status=status, reason=more.pop("why", ""))
    facts = {"state": "running", "trees_planned": 3, "lenders": (lender,), **more}
    return TrainingView(training_id="0" * 32, name="coordinator", **facts)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (view_of("expected"), view_of("joined"), ["north has joined."]),
        (view_of("joined"), view_of("expected"), []),
        (view_of(), view_of("away", why="It is late."), ["north is away: It is late."]),
        (view_of("away"), view_of(), ["north is back."]),
        (view_of(), view_of(state="paused", reason="Two."), ["The training is paused: Two."]),
        (view_of(), view_of(reason="Waiting."), ["The training is running: Waiting."]),
        (view_of(), view_of(problem="Gone."), ["Trying again: Gone."]),
        (view_of(problem="Gone."), view_of(problem="Gone."), []),
        (view_of(problem="Gone."), view_of(), ["The problem has passed."]),
        (
            view_of(),
            view_of(state="failed", reason="No."),
            ["This lender takes no further part: No."],
        ),
    ],
)
def test_changes_are_told_once(before: TrainingView, now: TrainingView, words: list[str]) -> None:
    assert changes_between(before, now) == words


def test_a_resumed_agent_does_not_print_earlier_trees_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trees = tuple(TreeView(number=n, lenders=("north",), levels=1) for n in range(3))
    events = Events()
    report = Reporter(events.all)
    report(view_of(trees=trees[:2]))
    events.add("north is back.")
    report(view_of(trees=trees, seconds=7))
    report(view_of(trees=trees, seconds=8))
    assert capsys.readouterr().out.splitlines() == [
        "Going on after tree 2 of 3.",
        "tree 3 of 3: 1 lenders, 7.0 s",
        "north is back.",
    ]


@pytest.mark.parametrize(
    ("view", "words", "code"),
    [
        (view_of(state="finished", auc=0.71234), "AUC is 0.7123", 0),
        (view_of(state="cancelled", reason="Enough."), "cancelled. Enough.", 1),
        (view_of(state="failed", reason="No key."), "no further part. No key.", 1),
        (view_of(), "Stopped", 1),
    ],
)
def test_the_end_is_told(
    view: TrainingView, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_end(view, Path("booster.json"), Path("record.json")) == code
    assert words in capsys.readouterr().out
