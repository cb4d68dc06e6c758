"""Sentences of a training's page, as text that is not escaped yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from federated.agents.at_work import Kind
from federated.agents.progress import LenderView, TrainingView
from federated.plan import Plan

STATUS_WORDS = {
    "expected": "expected",
    "joined": "joined",
    "working": "working",
    "done": "took part to the end",
    "away": "away",
    "refused": "excluded",
    "not part": "not part of it",
}
"""Words for the states of lenders."""
STATUS_KINDS = {
    "joined": "good",
    "working": "good",
    "done": "good",
    "expected": "wait",
    "away": "wait",
    "refused": "bad",
}
"""Colours of the states of lenders, as classes of the style sheet."""
SUMS = "Only sums over at least 3 lenders leave the masks; nobody sees the numbers of one lender."
IMPORTANCE = (
    "Computed from the trees alone. Each split counts by the difference between the mean leaf "
    "values of its two sides, with all leaves alike. This agent does not know how many rows reach "
    "a leaf, so that a split for few applicants counts as much as one for many."
)
LEAF_WORDS = (
    "A leaf adds its value to the log-odds of {approved}. The values of all trees are added: a sum "
    "of 0 or more means {approved}."
)
CODES = (
    "The lenders' codes are in {folder}, one file for each lender. Give each lender its own file "
    "over a channel that both trust. This page does not show them."
)
CONFIRM: dict[Kind, str] = {
    "coordinator": "All lenders are told that the training has ended, and no model is made. This "
    "cannot be undone.",
    "lender": "The others go on without this lender if enough of them are left. It cannot return "
    "to this training.",
}
ENDING: dict[Kind, str] = {
    "coordinator": "The training is being cancelled.",
    "lender": "This lender is leaving the training.",
}


def lead(kind: Kind) -> str:
    """Return what this agent does in the training."""
    if kind == "coordinator":
        return (
            "This agent asks the lenders for masked sums, opens their total, and grows the trees "
            "from it. It never has a row of a lender."
        )
    return (
        "This agent trains with this lender's rows, which stay on this machine. The other lenders "
        "and the coordinator get masked sums of them."
    )


def state_words(
    view: TrainingView, kind: Kind, depth: int, ending: bool = False, error: str = ""
) -> str:
    """Return the state of the training in one or two sentences."""
    if error and not view.over:
        return f"Stopped: {error} After that, start this agent again to go on from its folder."
    if ending and not view.over:
        return ENDING[kind]
    if view.state == "starting":
        return _starting(view, kind)
    if view.state == "running":
        return _running(view, depth)
    if view.state == "paused":
        return f"Paused. {view.reason} It goes on as soon as enough of them are back."
    if view.state == "finished":
        return _finished(view)
    if view.state == "failed":
        return f"This lender takes no further part. {view.reason}"
    return f"Cancelled. {view.reason}".strip()


def progress(view: TrainingView, depth: int) -> float:
    """Return the share of the planned levels that has been opened, from 0 to 1."""
    if view.state == "finished":
        return 1.0
    if not view.trees or not view.trees_planned:
        return 0.0
    done = len(view.trees) - 1 + min(view.trees[-1].levels, depth) / depth
    return min(1.0, done / view.trees_planned)


def status_words(one: LenderView) -> str:
    """Return the state of a lender, with the local time since when it has been away."""
    words = STATUS_WORDS.get(one.status, one.status)
    if one.status == "away" and one.since is not None:
        return f"{words} since {clock(one.since)}"
    return words


def clock(seconds: float) -> str:
    """Return the local time of day of a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S")


def spans(numbers: Sequence[int]) -> str:
    """Return rising numbers as spans: `1–12, 15`; `none` for no number."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in found) or "none"


def seen(kind: Kind, plan: Plan | None) -> tuple[list[str], list[str]]:
    """Return what others do not see, and what they do see, as two lists of sentences."""
    hidden = [
        SUMS,
        "The relaying server sees sizes and times of sealed messages, and none of their content.",
        "Lenders see the trees, and who took part in each, but no sums.",
    ]
    known = [
        "Every lender and the coordinator know the model, and from it what it says about all rows "
        "together.",
        "The coordinator knows the sums over all lenders of a tree: for every value of every "
        f"column, in each group of at least {plan.least_rows if plan else 'a few'} rows. Fewer of "
        "them may have a certain value.",
    ]
    if kind == "coordinator":
        hidden.insert(1, "This agent sees the sums over all lenders of a tree, and no others.")
    else:
        hidden.insert(1, "Your rows do not leave this machine, and no number of yours alone does.")
        known.append("In which trees this lender took part, and when it was away.")
    if plan is not None and plan.privacy is not None:
        hidden.append("Every lender adds noise to its sums (differential privacy).")
    elif plan is not None:
        known.append(
            "No noise is added (no differential privacy), so that the model may show whether a "
            "certain row was among the training rows."
        )
    return hidden, known


def _starting(view: TrainingView, kind: Kind) -> str:
    if kind == "lender":
        if not view.trees_planned:
            return "Joined. This lender waits for the coordinator."
        return "Joined. The training begins when the other lenders have joined."
    joined = sum(one.status != "expected" for one in view.lenders)
    if joined == len(view.lenders):
        return "All lenders have joined. They are checking the plan."
    return (
        f"{joined} of {len(view.lenders)} lenders have joined. The training begins when all have, "
        "or after the time to join if at least 3 have."
    )


def _running(view: TrainingView, depth: int) -> str:
    if not view.trees:
        return "The rows of all lenders are being counted, before the first tree."
    levels = min(view.trees[-1].levels, depth)
    left = view.seconds_left
    rest = f"; about {_rounded(left)} left" if left is not None else ""
    return (
        f"Tree {len(view.trees)} of {view.trees_planned}, "
        f"{levels} of {depth} level{'' if depth == 1 else 's'}{rest}."
    )


def _rounded(seconds: float) -> str:
    """Return an estimate without false precision: `40 s`, `3 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


def _finished(view: TrainingView) -> str:
    kept = len(view.trees) if view.kept is None else view.kept
    auc = view.final_auc
    value = f", validation AUC {auc:.4f}" if auc is not None else ""
    text = f"Finished: {kept} tree{'' if kept == 1 else 's'}{value}."
    if kept < len(view.trees):
        text += f" {len(view.trees)} were grown; the last ones did not raise the AUC."
    return text
