"""Charts of a training: validation AUC, who took part in which tree, bytes, importance."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from federated.agents.progress import TrainingView, TreeView
from federated.agents.rounds import Round
from ui.federated.importance import ColumnImportance
from ui.plots import APPROVED, DENIED, LINE

FEWER = "#c08a1e"
"""Colour of trees that were grown without some of the lenders."""
_GRID = "rgba(138,148,166,0.25)"
_ABSENT = "rgba(138,148,166,0.18)"
_LONGEST_LABEL = 22
_MOST_GAPPED = 80
"""Trees up to which the strip has gaps between them."""


def auc_figure(view: TrainingView) -> go.Figure:
    """Return the validation AUC after each tree, with marks at trees that lacked lenders."""
    known = [tree for tree in view.trees if tree.auc is not None]
    kinds = [kind_of(tree, view) for tree in known]
    figure = go.Figure()
    if not known:
        return _styled(figure, 230)
    figure.add_scatter(
        x=[tree.number + 1 for tree in known],
        y=[tree.auc for tree in known],
        mode="lines",
        line={"color": APPROVED, "width": 2},
        name="validation AUC",
        hovertemplate="after tree %{x}: %{y:.4f}<extra></extra>",
    )
    marks = (("fewer lenders", FEWER, "diamond"), ("ended early", DENIED, "x"))
    for name, colour, symbol in marks:
        own = [tree for tree, kind in zip(known, kinds, strict=True) if kind == name]
        figure.add_scatter(
            x=[tree.number + 1 for tree in own],
            y=[tree.auc for tree in own],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            name=name,
            hovertemplate=f"tree %{{x}}: {name}, %{{y:.4f}}<extra></extra>",
            visible=True if own else "legendonly",
            showlegend=bool(own),
        )
    if view.kept is not None and 0 < view.kept < len(view.trees):
        figure.add_vline(
            x=view.kept + 0.5,
            line={"color": LINE, "width": 1.5, "dash": "dot"},
            annotation_text=f"{view.kept} kept",
            annotation_position="bottom left",
        )
    _tree_axis(figure, view)
    figure.update_yaxes(
        title=_title("AUC"),
        tickformat=".3f",
        gridcolor=_GRID,
        zeroline=False,
        fixedrange=True,
        nticks=6,
    )
    return _styled(figure, 270)


def strip_figure(view: TrainingView) -> go.Figure:
    """Return a strip of trees for each lender: took part, did not, or the tree ended early."""
    names = [one.name for one in view.lenders]
    trees = view.trees
    figure = go.Figure()
    if not trees:
        return _styled(figure, 120)
    cells = [[_cell(name, tree) for tree in trees] for name in names]
    words = ("not part", "took part", "took part; the tree ended early")
    gap = 1 if max(len(trees), view.trees_planned) <= _MOST_GAPPED else 0
    figure.add_heatmap(
        x=[tree.number + 1 for tree in trees],
        y=[short(name) for name in names],
        z=cells,
        text=[[words[cell] for cell in row] for row in cells],
        zmin=0,
        zmax=2,
        colorscale=[
            (0, _ABSENT),
            (1 / 3, _ABSENT),
            (1 / 3, APPROVED),
            (2 / 3, APPROVED),
            (2 / 3, DENIED),
            (1, DENIED),
        ],
        showscale=False,
        xgap=gap,
        ygap=3,
        hovertemplate="%{y}, tree %{x}: %{text}<extra></extra>",
    )
    _tree_axis(figure, view)
    figure.update_yaxes(autorange="reversed", automargin=True, fixedrange=True, showgrid=False)
    figure.update_yaxes(title=_title("Lender"), ticks="", ticklabelstandoff=4)
    return _styled(figure, 70 + 24 * len(names))


def bytes_figure(rounds: Sequence[Round]) -> go.Figure:
    """Return the bytes of each round that this agent has sent and received."""
    figure = go.Figure()
    if not rounds:
        return _styled(figure, 230)
    figure.add_bar(
        x=list(range(1, len(rounds) + 1)),
        y=[one.bytes / 1000 for one in rounds],
        customdata=[(one.tree + 1, one.level + 1) for one in rounds],
        marker={"color": APPROVED, "line": {"width": 0}},
        hovertemplate="tree %{customdata[0]}, level %{customdata[1]}: %{y:.1f} kB<extra></extra>",
    )
    figure.update_xaxes(title=_title("Round"), showgrid=False, fixedrange=True, zeroline=False)
    figure.update_yaxes(
        title=_title("kB"),
        rangemode="tozero",
        nticks=5,
        gridcolor=_GRID,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_layout(bargap=0.15 if len(rounds) <= _MOST_GAPPED else 0)
    return _styled(figure, 270)


def importance_figure(columns: Sequence[ColumnImportance]) -> go.Figure:
    """Return a bar for each column, the most important one at the top."""
    figure = go.Figure()
    if not columns:
        return _styled(figure, 120)
    rising = list(columns)[::-1]
    figure.add_bar(
        x=[one.spread for one in rising],
        y=[short(one.code.column.label) for one in rising],
        customdata=[one.splits for one in rising],
        orientation="h",
        marker={"color": APPROVED, "line": {"width": 0}},
        hovertemplate="%{y}: %{x:.2f} in log-odds, %{customdata} splits<extra></extra>",
    )
    figure.update_yaxes(type="category", automargin=True, fixedrange=True, showgrid=False)
    figure.update_yaxes(title=_title("Column"))
    figure.update_xaxes(
        title=_title("Spread (log-odds)"),
        rangemode="tozero",
        nticks=6,
        gridcolor=_GRID,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_layout(bargap=0.3)
    return _styled(figure, 70 + 26 * len(columns))


def kind_of(tree: TreeView, view: TrainingView) -> str:
    """Return whether a tree ended early or lacked lenders; empty if neither."""
    if tree.ended_early:
        return "ended early"
    return "fewer lenders" if len(tree.lenders) < len(view.lenders) else ""


def short(text: str) -> str:
    """Return a label of at most 22 characters; Plotly would read markup in it."""
    plain = text.replace("<", "‹").replace(">", "›").replace("&", "+")
    return plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 1]}…"


def _cell(name: str, tree: TreeView) -> int:
    if name not in tree.lenders:
        return 0
    return 2 if tree.ended_early else 1


def _title(text: str) -> dict[str, object]:
    return {"text": text, "standoff": 4}


def _tree_axis(figure: go.Figure, view: TrainingView) -> None:
    over = view.state not in ("starting", "running", "paused")
    last = len(view.trees) if over else max(view.trees_planned, len(view.trees))
    figure.update_xaxes(
        title=_title("Tree"),
        range=[0.5, last + 0.5],
        nticks=8,
        tick0=0,
        dtick=1 if last <= 8 else None,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )


def _styled(figure: go.Figure, height: int) -> go.Figure:
    if not figure.data:
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        height = 20
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        showlegend=any(trace.showlegend for trace in figure.data),
        margin={"l": 60, "r": 10, "t": 30, "b": 40},
        height=height,
        dragmode=False,
        template="none",
    )
    return figure
