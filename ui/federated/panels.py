"""Parts of a training's page as HTML, rendered from an agent's views; everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from federated.agents.at_work import AtWork
from federated.agents.progress import Event, LenderView, TrainingView
from federated.agents.rounds import Round
from federated.plan import Plan
from ui.consent.panels import empty, facts, note, table
from ui.data_tables import folded_table, rows_table
from ui.federated import texts
from ui.federated.charts import kind_of
from ui.federated.importance import ColumnImportance, PartyImportance
from ui.federated.rules import Rule
from ui.texts import two_lists
from ui.units import escape, show_bytes, show_seconds

MOST_EVENTS = 100
"""Events that the page shows, the newest first."""
NO_AUC: dict[bool, str] = {
    True: "No AUC yet. It is known one tree later than the tree itself.",
    False: "The plan keeps no validation rows, so that no AUC is measured.",
}
NO_TREE = "No tree is finished yet."
NO_ROUND = "No round is over yet."
NO_IMPORTANCE = "Shown when the training is finished."


def introduction(work: AtWork, plan: Plan | None) -> str:
    """Return the page header: the schema, the role of this agent, and what it does."""
    title = "Training by several lenders" if plan is None else plan.schema_.title
    role = "Coordinator" if work.kind == "coordinator" else f"Lender {work.name}"
    return f"""
<header class="ts-head ts-head-agent">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(title)}: trained together</h1>
  <p class="ts-chips"><span>{escape(role)}</span><span>Training
  {escape(work.agent.view().training_id[:8])}…</span></p>
  <p class="ts-note">{escape(texts.lead(work.kind))}</p>
</header>"""


def state_panel(work: AtWork, view: TrainingView, plan: Plan | None) -> str:
    """Return the state in a sentence, the progress bar, and the facts in numbers."""
    depth = plan.depth if plan is not None else 1
    error = "" if work.error is None else str(work.error)
    words = texts.state_words(view, work.kind, depth, work.ending, error)
    bad = view.state in ("cancelled", "failed") or bool(error and not view.over)
    kind = "ts-stale" if bad or view.state == "paused" else "ts-run"
    share = texts.progress(view, depth)
    bar = (
        f'<progress class="ts-bar-run ts-wide-run" max="1" value="{share:.3f}" '
        f'aria-label="{share:.0%} of the training is done"></progress>'
    )
    auc = view.final_auc
    shown = facts(
        (
            ("Validation AUC", "" if auc is None else f"{auc:.4f}"),
            ("Time", show_seconds(view.seconds) if view.seconds else ""),
            ("Sent and received", show_bytes(view.bytes) if view.bytes else ""),
            ("Plan", _plan_words(plan)),
        )
    )
    return (
        f'<p class="{kind}" id="state" role="status" data-state="{view.state}">'
        f"{escape(words)}</p>{bar}{_away(view)}{shown}"
    )


def codes_note(work: AtWork, view: TrainingView) -> str:
    """Return where a coordinator's codes are, while lenders are still expected."""
    if work.codes is None or view.state != "starting":
        return ""
    return note(texts.CODES.format(folder=work.codes))


def lenders_table(view: TrainingView, kind: str) -> str:
    """Return the lenders with their states; a lender does not know the others' bytes."""
    heads = ["Lender", "State", "Trees", "Drop-outs", "Sent to the coordinator"]
    if kind == "lender":
        heads = heads[:3]
    rows = []
    for one in view.lenders:
        own = " (this lender)" if one.name == view.name else ""
        cells = [
            f"{escape(one.name)}{own}",
            _state_of(one),
            str(one.trees),
            str(one.drop_outs),
            show_bytes(one.bytes),
        ]
        rows.append(cells[: len(heads)])
    return table(heads, rows, "ts-lenders")


def charts_tables(view: TrainingView, rounds: Sequence[Round]) -> str:
    """Return the data of the charts: trees with AUC and lenders, lenders, and rounds."""
    if not view.trees:
        return empty(NO_TREE)
    trees = [
        (
            tree.number + 1,
            "" if tree.auc is None else f"{tree.auc:.4f}",
            f"{len(tree.lenders)} of {len(view.lenders)}",
            tree.levels,
            kind_of(tree, view),
        )
        for tree in view.trees
    ]
    sent = [
        (number, one.tree + 1, one.level + 1, show_bytes(one.bytes))
        for number, one in enumerate(rounds, 1)
    ]
    return (
        rows_table("Trees", ("Tree", "Validation AUC", "Lenders", "Levels", "Note"), trees)
        + _parts(view)
        + (
            rows_table("Rounds", ("Round", "Tree", "Level", "Sent and received"), sent)
            if sent
            else ""
        )
    )


def strip_key() -> str:
    """Return the meaning of the colours in the strip of trees."""
    items = (("part", "took part"), ("early", "took part; the tree ended early"), ("", "not part"))
    return (
        '<p class="ts-key">'
        + "".join(f'<span><i class="{kind}"></i>{words}</span>' for kind, words in items)
        + "</p>"
    )


def rules_panel(number: int, rules: Sequence[Rule], approved: str) -> str:
    """Return a tree as a list of rules, one for each leaf."""
    items = "".join(
        f"<li><span>{_conditions(rule)}</span>"
        f'<b class="{"good" if rule.value >= 0 else "bad"}">{_leaf(rule.value)}</b></li>'
        for rule in rules
    )
    words = texts.LEAF_WORDS.format(approved=approved)
    return (
        f'<h3 class="ts-sub">Tree {number}</h3><ul class="ts-leaves" tabindex="0" '
        f'aria-label="Leaves of tree {number}">{items}</ul>{note(words)}'
    )


def importance_panel(
    parties: Sequence[PartyImportance], columns: Sequence[ColumnImportance]
) -> str:
    """Return the importance of parties as a table, what it means, and the data of the plot."""
    total = sum(one.spread for one in parties) or 1.0
    by_party = table(
        ("Party", "Share", "Splits"),
        [(escape(one.label), f"{one.spread / total:.0%}", str(one.splits)) for one in parties],
    )
    by_column = folded_table(
        "Importance by column",
        ("Column", "Share", "Spread", "Splits"),
        [
            (
                one.code.column.label,
                f"{one.spread / total:.0%}",
                f"{one.spread:.2f}",
                str(one.splits),
            )
            for one in columns
        ],
    )
    return f"{by_party}{note(texts.IMPORTANCE)}{by_column}"


def events_list(events: Sequence[Event]) -> str:
    """Return the newest events, the newest first."""
    if not events:
        return empty("Nothing has happened yet.")
    items = "".join(
        f'<li><span class="time">{texts.clock(event.at)}</span>'
        f'<span class="what">{escape(event.text)}</span></li>'
        for event in list(events)[: -MOST_EVENTS - 1 : -1]
    )
    return f'<ul class="ts-happened" tabindex="0" aria-label="Events">{items}</ul>'


def seen_panel(work: AtWork, plan: Plan | None) -> str:
    """Return what others see of the rows, and what they do not."""
    hidden, known = texts.seen(work.kind, plan)
    return two_lists(hidden, known, ("What others do not see", "What others see"))


def _plan_words(plan: Plan | None) -> str:
    if plan is None:
        return ""
    return f"{plan.trees} trees of depth {plan.depth}, groups of at least {plan.least_rows} rows"


def _away(view: TrainingView) -> str:
    if not view.problem or view.over:
        return ""
    return (
        f'<p class="ts-alarm" role="alert">{escape(view.problem)} This agent goes on by itself '
        "as soon as it can.</p>"
    )


def _state_of(one: LenderView) -> str:
    kind = texts.STATUS_KINDS.get(one.status, "off")
    reason = f" {escape(one.reason)}" if one.reason and one.status in ("away", "refused") else ""
    badge = f'<span class="ts-badge {kind}">{escape(texts.status_words(one))}</span>'
    return f"{badge}{reason}"


def _parts(view: TrainingView) -> str:
    """Return in words which lender took part in which trees, as the strip shows it."""
    rows = []
    for one in view.lenders:
        own = [tree.number + 1 for tree in view.trees if one.name in tree.lenders]
        rows.append((escape(one.name), escape(texts.spans(own))))
    return table(("Lender", "Took part in trees"), rows)


def _conditions(rule: Rule) -> str:
    if not rule.conditions:
        return "For everyone"
    return "If " + " <i>and</i> ".join(escape(text) for text in rule.conditions)


def _leaf(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
