"""The handlers of a training's page: each acts on the agent and returns what changes."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any

import gradio as gr
from anyio import to_thread

from federated.agents.at_work import AtWork
from federated.agents.progress import TrainingView
from federated.plan import Plan
from ui.consent.handling import Turn, View, is_outdated
from ui.consent.panels import empty
from ui.federated import charts, panels
from ui.federated.importance import column_importance, party_importance
from ui.federated.rules import rules_of
from ui.plot_data import plot_data
from ui.ticks import wait_for

LATEST = "The latest"
FILES = ("booster", "record")
"""Files that can be downloaded; each has a button of its own."""


@dataclass
class Shown:
    """The content that a browser session shows, as of the agent's serial number `serial`.

    `tree` is the number of the chosen tree, from 1; None for the latest. `charted`, `ruled` and
    `weighed` tell of what the charts, the tree and the importance were made.
    """

    turn: Turn = field(default_factory=Turn)
    serial: int = -1
    rendered: float = 0.0
    tree: int | None = None
    confirming: bool = False
    charted: Any = None
    ruled: Any = None
    weighed: Any = None
    told: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)


class TrainingActions:
    """The event handlers of the page of one agent."""

    def __init__(self, work: AtWork) -> None:
        self.work = work
        self._copies: dict[Path, str] = {}

    def arrive(self, shown: Shown) -> View:
        """Return the whole view, for a page that was just loaded."""
        with shown.turn:
            shown.charted = shown.ruled = shown.weighed = None
            shown.listed.clear()
            return self.view(shown)

    def view(self, shown: Shown) -> View:
        """Return everything that depends on the agent, rendered from its current state."""
        with shown.turn:
            work = self.work
            shown.serial, shown.rendered = work.serial, time.monotonic()
            view, plan = work.agent.view(), work.agent.known_plan
            over = view.over or work.error is not None
            return {
                "state": shown,
                "introduction": panels.introduction(work, plan),
                "training": panels.state_panel(work, view, plan),
                "codes": panels.codes_note(work, view),
                "told": shown.told.get("ending", ""),
                "end": gr.update(visible=not over and not work.ending and not shown.confirming),
                "confirm_row": gr.update(visible=shown.confirming and not over),
                "lenders": panels.lenders_table(view, work.kind),
                "events": panels.events_list(work.agent.events()),
                "seen": panels.seen_panel(work, plan),
                **self._charts(shown, view, plan),
                **self._tree(shown, plan),
                **self._importance(shown, view, plan),
                **self._downloads(shown, view),
            }

    async def tick(self, shown: Shown) -> View:
        """Wait for a change of the training, then return the view; nothing without a change."""
        if not await wait_for(lambda: is_outdated(shown, self.work.serial)):
            return {}
        return await to_thread.run_sync(self.view, shown)

    def choose_tree(self, shown: Shown, chosen: str) -> View:
        """Show the rules of a tree, given its number in words."""
        shown.tree = int(chosen) if chosen.isascii() and chosen.isdecimal() else None
        return self.view(shown)

    def ask_end(self, shown: Shown) -> View:
        """Ask whether to cancel or leave the training."""
        shown.confirming = True
        return self.view(shown)

    def keep(self, shown: Shown) -> View:
        """Go on with the training after all."""
        shown.confirming = False
        return self.view(shown)

    def end(self, shown: Shown) -> View:
        """Cancel or leave the training, if that was asked before."""
        if shown.confirming:
            shown.confirming = False
            self.work.end()
        return self.view(shown)

    def _charts(self, shown: Shown, view: TrainingView, plan: Plan | None) -> View:
        rounds = self.work.agent.rounds()
        key = (view.state, view.trees, len(rounds), len(view.lenders), plan is None)
        if shown.charted == key:
            return {}
        shown.charted = key
        measured = any(tree.auc is not None for tree in view.trees)
        possible = plan is None or plan.validation_share > 0
        return {
            "auc": plot_data(charts.auc_figure(view)),
            "auc_note": "" if measured else empty(panels.NO_AUC[possible]),
            "strip": plot_data(charts.strip_figure(view)),
            "strip_key": panels.strip_key() if view.trees else empty(panels.NO_TREE),
            "bytes": plot_data(charts.bytes_figure(rounds)),
            "bytes_note": "" if rounds else empty(panels.NO_ROUND),
            "trees": panels.charts_tables(view, rounds),
        }

    def _tree(self, shown: Shown, plan: Plan | None) -> View:
        trees = self.work.agent.trees
        count = len(trees)
        if not count or plan is None:
            return {"rules": empty(panels.NO_TREE), "tree_choice": gr.update(visible=False)}
        number = count if shown.tree is None else min(max(1, shown.tree), count)
        if shown.ruled == (number, count):
            return {}
        shown.ruled = (number, count)
        rules = rules_of(trees[number - 1], plan.layout)
        names = [LATEST, *(str(n) for n in range(1, count + 1))]
        value = LATEST if shown.tree is None else str(number)
        return {
            "rules": panels.rules_panel(number, rules, plan.schema_.decision.approved),
            "tree_choice": gr.update(
                choices=[(name, name) for name in names], value=value, visible=True
            ),
        }

    def _importance(self, shown: Shown, view: TrainingView, plan: Plan | None) -> View:
        if view.state != "finished" or plan is None:
            return {"importance": empty(panels.NO_IMPORTANCE)}
        trees = self.work.agent.trees
        if shown.weighed == len(trees):
            return {}
        shown.weighed = len(trees)
        columns = column_importance(trees, plan.layout)
        parties = party_importance(columns, plan.layout)
        return {
            "importance": panels.importance_panel(parties, columns),
            "importance_plot": gr.update(
                value=plot_data(charts.importance_figure(columns)), visible=True
            ),
        }

    def _downloads(self, shown: Shown, view: TrainingView) -> View:
        """Return the buttons of the files, which exist once the training is finished."""
        found = self.work.files() if view.state == "finished" else {}
        made: View = {}
        for name in FILES:
            path = found.get(name)
            if path is None or shown.listed.get(name):
                continue
            shown.listed[name] = True
            made[f"download_{name}"] = gr.update(value=self._copy(path), visible=True)
        return made

    def _copy(self, path: Path) -> str:
        """Return the path of a copy in the page's private folder, from which Gradio may serve."""
        if path not in self._copies:
            own = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
            copy = Path(tempfile.mkdtemp(prefix="training-", dir=own)) / path.name
            copyfile(path, copy)
            self._copies[path] = str(copy)
        return self._copies[path]
