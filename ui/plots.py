"""The explanation as a plot: the score for every bin of the explained column."""

from __future__ import annotations

import plotly.graph_objects as go

from features.schema import Schema
from model.explanation import Explanation

# Bars also differ by height and sign; both colours are legible on white and on near black.
APPROVED = "#2a9d6f"
DENIED = "#d1603d"
LINE = "#8a94a6"


def blank_figure() -> go.Figure:
    """Return an empty figure for a plot that is not shown yet."""
    return go.Figure()


def explanation_figure(explanation: Explanation, schema: Schema, narrow: bool = False) -> go.Figure:
    """Return a bar chart of the score per bin, with the approval threshold at 0.

    The applicant's bin and the one that changes the decision are labelled. `narrow` fits a page
    column of about 300 pixels.
    """
    column = schema.explained_column
    labels, scores = list(explanation.bins), [float(s) for s in explanation.scores]
    first = len(column.bin_labels()) - len(labels)
    marks = {explanation.current_bin - first: "now"}
    if explanation.turning_bin is not None:
        # One line lower next to "now", which it could touch.
        beside = abs(explanation.turning_bin - explanation.current_bin) == 1
        marks[explanation.turning_bin - first] = "<br>changes it" if beside else "changes it"
    ticks = [
        f"{label}<br><b>{marks[i]}</b>" if i in marks else label for i, label in enumerate(labels)
    ]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(labels))),
            y=scores,
            marker={
                "color": [APPROVED if score >= 0 else DENIED for score in scores],
                "line": {
                    "color": LINE,
                    "width": [3 if i in marks else 0 for i in range(len(labels))],
                },
            },
            text=[f"{score:+.4g}".replace("-", "−") for score in scores],
            textposition="outside",
            cliponaxis=False,
            customdata=labels,
            hovertemplate="%{customdata}: score %{y:.4g}<extra></extra>",
        )
    )
    # The room below keeps a score of exactly 0, which is approved too, off the edge.
    top, bottom = max(*scores, 0.0), min(*scores, 0.0)
    room = 0.18 * ((top - bottom) or 1.0)
    unit = f" ({column.unit})" if column.unit else ""
    figure.add_hline(y=0, line={"color": LINE, "width": 2, "dash": "dash"})
    figure.update_layout(
        height=340,
        margin={"l": 44 if narrow else 64, "r": 12, "t": 16, "b": 64 if narrow else 84},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 11 if narrow else 13},
        bargap=0.25 if narrow else 0.35,
        showlegend=False,
        dragmode=False,
        template="none",
    )
    figure.update_xaxes(
        title={"text": f"{column.label}{unit}", "standoff": 8},
        tickvals=list(range(len(labels))),
        ticktext=ticks,
        tickangle=0,
        tickfont={"size": 10 if narrow else 13},
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(
        title={"text": "" if narrow else f"Score (0 or more: {schema.decision.approved})"},
        range=[bottom - room, top + room],
        gridcolor="rgba(138,148,166,0.25)",
        zeroline=False,
        fixedrange=True,
    )
    return figure
