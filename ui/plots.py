"""The explanation as a plot: the score, or only its sign, for every bin of the explained column."""

from __future__ import annotations

import plotly.graph_objects as go

from features.schema import Schema
from model.explanation import Explanation
from ui.data_tables import folded_table

# Bars also differ by height and sign, or by a mark; both colours are legible on white and black.
APPROVED = "#2a9d6f"
DENIED = "#d1603d"
LINE = "#8a94a6"
TURNS = "changes it"
MOST_CHARACTERS = 40
"""Characters that fit side by side below the bars in a window of 390 pixels.

If the labels of all bins have more, only the smallest values are shown; if these have more, they
are turned.
"""


def blank_figure() -> go.Figure:
    """Return an empty figure for a plot that is not shown yet."""
    return go.Figure()


def explanation_figure(
    explanation: Explanation, schema: Schema, signs: bool = False, narrow: bool = False
) -> go.Figure:
    """Return a bar chart of the score per bin, with the approval threshold at 0.

    If only `signs` were opened, there is one tile per bin instead, approved or denied. The
    applicant's bin and the one that changes the decision are labelled. `narrow` fits a page column
    of about 300 pixels.
    """
    figure = _signs(explanation, schema) if signs else _scores(explanation, schema, narrow)
    labels, marks = list(explanation.bins), _marks(explanation)
    lines, floors = [_in_lines(label) for label in labels], [label.split()[0] for label in labels]
    whole = _fit([line for label in lines for line in label.split("<br>")], len(labels))
    turned = not whole and not _fit(floors, len(labels))
    if turned:
        ticks = [f"<b>{marks[i]}</b> {own}" if i in marks else own for i, own in enumerate(floors)]
        own = figure.layout
        room = 9 * max(map(len, floors)) + 60
        figure.update_layout(height=own.height + room, margin_b=own.margin.b + room)
    else:
        shown = lines if whole else floors
        ticks = [f"{own}{_below(i, marks, whole)}" for i, own in enumerate(shown)]
    title = _column_title(schema)
    figure.update_traces(
        marker={
            "color": [APPROVED if score >= 0 else DENIED for score in explanation.scores],
            "line": {
                "color": LINE,
                "width": [3 if i in marks else 0 for i in range(len(labels))],
            },
        },
        customdata=labels,
    )
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 11 if narrow else 13},
        showlegend=False,
        dragmode=False,
        template="none",
    )
    figure.update_xaxes(
        title={"text": f"{title}{'' if whole else ', from'}", "standoff": 8},
        tickvals=list(range(len(labels))),
        ticktext=ticks,
        tickangle=-90 if turned else 0,
        tickfont={"size": 10 if narrow else 12},
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(zeroline=False, fixedrange=True)
    return figure


def explanation_table(explanation: Explanation, schema: Schema, signs: bool = False) -> str:
    """Return the data of `explanation_figure` as a folded table."""
    decision, marks = schema.decision, _marks(explanation)
    rows = []
    for i, (label, score) in enumerate(zip(explanation.bins, explanation.scores, strict=True)):
        word = decision.approved if score >= 0 else decision.denied
        shown = [label, word] if signs else [label, f"{score:.4g}".replace("-", "−"), word]
        rows.append([*shown, marks.get(i, "")])
    title = _column_title(schema)
    heads = [title, *([] if signs else ["Score"]), "Decision", "Note"]
    return folded_table(f"The decision by {title}", heads, rows)


def _column_title(schema: Schema) -> str:
    column = schema.explained_column
    named = column.unit.lower() in column.label.lower()
    return column.label if named else f"{column.label} ({column.unit})"


def _fit(texts: list[str], bins: int) -> bool:
    """Return True if such texts below each of the bins do not touch in a narrow window."""
    return bins * (max(map(len, texts), default=0) + 0.5) <= MOST_CHARACTERS


def _in_lines(label: str) -> str:
    """Return a bin's label on two lines."""
    return label.replace(" to ", " to<br>").replace(" and ", "<br>and ")


def _below(position: int, marks: dict[int, str], apart: bool) -> str:
    """Return a bin's mark on a line of its own.

    Unless bins are wide enough to keep marks `apart`, one line lower next to another mark.
    """
    if position not in marks:
        return ""
    beside = not apart and marks[position] == TURNS and {position - 1, position + 1} & set(marks)
    return f"<br>{'<br>' if beside else ''}<b>{marks[position]}</b>"


def _marks(explanation: Explanation) -> dict[int, str]:
    """Return the marks of the applicant's bin and of the turning one, by position in the plot."""
    first, turning = explanation.first_bin, explanation.turning_bin
    marks = {explanation.current_bin - first: "now"} if explanation.current_bin >= 0 else {}
    return marks if turning is None else marks | {turning - first: TURNS}


def _signs(explanation: Explanation, schema: Schema) -> go.Figure:
    """Return a tile per bin, with a mark."""
    approved = [score >= 0 for score in explanation.scores]
    decision = schema.decision
    figure = go.Figure(
        go.Bar(
            x=list(range(len(approved))),
            y=[1] * len(approved),
            text=["✓" if yes else "✕" for yes in approved],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"size": 20, "color": "#fff"},
            hovertext=[decision.approved if yes else decision.not_approved for yes in approved],
            hovertemplate="%{customdata}: %{hovertext}<extra></extra>",
        )
    )
    figure.add_annotation(
        text=f"<b>✓</b> {decision.approved} \u2003 <b>✕</b> {decision.not_approved}",
        x=0,
        xref="paper",
        xanchor="left",
        y=1,
        yref="paper",
        yanchor="bottom",
        showarrow=False,
    )
    figure.update_layout(height=190, margin={"l": 30, "r": 12, "t": 32, "b": 66}, bargap=0.08)
    figure.update_yaxes(
        title={"text": "Decision", "standoff": 4},
        range=[0, 1],
        showticklabels=False,
        ticks="",
        showgrid=False,
        showline=False,
    )
    return figure


def _scores(explanation: Explanation, schema: Schema, narrow: bool) -> go.Figure:
    """Return a bar per bin, as high as its score."""
    scores = [float(score) for score in explanation.scores]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(scores))),
            y=scores,
            text=[f"{score:+.4g}".replace("-", "−") if score else "0" for score in scores],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{customdata}: score %{y:.4g}<extra></extra>",
        )
    )
    # The room below keeps a score of exactly 0, which is approved too, off the edge.
    top, bottom = max(*scores, 0.0), min(*scores, 0.0)
    room = 0.18 * ((top - bottom) or 1.0)
    figure.add_hline(y=0, line={"color": LINE, "width": 2, "dash": "dash"})
    figure.update_layout(
        height=340,
        margin={"l": 56 if narrow else 64, "r": 12, "t": 16, "b": 64 if narrow else 84},
        bargap=0.25 if narrow else 0.35,
    )
    figure.update_yaxes(
        title={"text": "Score" if narrow else f"Score (0 or more: {schema.decision.approved})"},
        range=[bottom - room, top + room],
        gridcolor="rgba(138,148,166,0.25)",
    )
    return figure
