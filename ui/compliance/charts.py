"""Charts of what was allowed and denied: per day, by partner, by purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import plotly.graph_objects as go
from gradio.components.plot import PlotData

from governance.purposes import purpose_words
from governance.reports import Row
from ui.compliance.filters import PARTIES
from ui.data_tables import folded_table
from ui.plot_data import plot_data
from ui.plots import APPROVED, DENIED, LINE

MOST_BARS = 7
"""Days, partners or purposes in one chart: the latest days, or those with the most decisions."""
_LONGEST_LABEL = 26
_NOTHING = "No decisions to show."


TITLES = ("Per day", "Partners", "Purposes")


def plots_of(rows: Sequence[Row]) -> list[PlotData | str]:
    """Return each chart, in the order of TITLES, followed by its data as a folded table."""
    figures = (day_figure(rows), partner_figure(rows), purpose_figure(rows))
    return [
        part
        for figure, title in zip(figures, TITLES, strict=True)
        for part in (plot_data(figure), _table(figure, title))
    ]


def day_figure(rows: Sequence[Row]) -> go.Figure:
    """Return the decisions per day, oldest first."""
    allowed, denied = _counted(rows, lambda row: row.day)
    days = _days_to(max(allowed.keys() | denied.keys(), default=None))
    labels = [day[5:] for day in days]
    figure = go.Figure(
        [
            _bars(labels, [found[day] for day in days], name, colour)
            for found, name, colour in _series(allowed, denied)
        ]
    )
    figure.update_xaxes(type="category", showgrid=False, fixedrange=True, tickangle=0)
    figure.update_xaxes(tickfont={"size": 10}, title=_axis_title("Day (UTC)"))
    figure.update_yaxes(**_counts_axis(allowed + denied))
    return _styled(figure)


def partner_figure(rows: Sequence[Row]) -> go.Figure:
    """Return the decisions by partner."""
    return _lying(rows, lambda row: row.partner or PARTIES, str, "Partner")


def purpose_figure(rows: Sequence[Row]) -> go.Figure:
    """Return the decisions by purpose."""
    return _lying(rows, lambda row: row.purpose or "none named", purpose_words, "Purpose")


def _days_to(last: str | None) -> list[str]:
    """Return the days of the chart up to the last one with a decision."""
    if last is None:
        return []
    end = date.fromisoformat(last)
    return [str(end - timedelta(days=back)) for back in range(MOST_BARS - 1, -1, -1)]


def _lying(
    rows: Sequence[Row], key: Callable[[Row], str], words: Callable[[str], str], title: str
) -> go.Figure:
    allowed, denied = _counted(rows, key)
    most = [name for name, _ in (allowed + denied).most_common(MOST_BARS)][::-1]
    labels = [_short(words(name)) for name in most]
    figure = go.Figure(
        [
            _bars([found[name] for name in most], labels, name_, colour, orientation="h")
            for found, name_, colour in _series(allowed, denied)
        ]
    )
    figure.update_yaxes(type="category", showgrid=False, fixedrange=True, automargin=True)
    figure.update_yaxes(title=_axis_title(title))
    figure.update_xaxes(**_counts_axis(allowed + denied))
    return _styled(figure)


def _counted(rows: Sequence[Row], key: Callable[[Row], str]) -> tuple[Counter[str], Counter[str]]:
    return (
        Counter(key(row) for row in rows if row.allowed),
        Counter(key(row) for row in rows if row.denied),
    )


def _series(
    allowed: Counter[str], denied: Counter[str]
) -> tuple[tuple[Counter[str], str, str], ...]:
    return ((allowed, "✓ allowed", APPROVED), (denied, "✕ denied", DENIED))


def _bars(x: Sequence[object], y: Sequence[object], name: str, colour: str, **more: str) -> go.Bar:
    hover = "%{y}: %{x}" if more else "%{x}: %{y}"
    return go.Bar(
        x=x,
        y=y,
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        hovertemplate=f"{hover} {name[2:]}<extra></extra>",
        **more,
    )


def _counts_axis(found: Counter[str]) -> dict[str, object]:
    highest = max(found.values(), default=1)
    return {
        "title": _axis_title("Decisions"),
        "rangemode": "tozero",
        "dtick": 1 if highest <= 5 else None,
        "nticks": 5,
        "zeroline": False,
        "fixedrange": True,
        "gridcolor": "rgba(138,148,166,0.25)",
        "linecolor": LINE,
    }


def _axis_title(text: str) -> dict[str, object]:
    return {"text": text, "standoff": 6}


def _table(figure: go.Figure, title: str) -> str:
    """Return the bars' categories, largest or latest first, with the number of each kind."""
    lying = any(bars.orientation == "h" for bars in figure.data)
    names = list((figure.data[0].y if lying else figure.data[0].x) or ())
    counts = [list((bars.x if lying else bars.y) or ()) for bars in figure.data]
    axis = figure.layout.yaxis if lying else figure.layout.xaxis
    heads = [axis.title.text, *(bars.name for bars in figure.data)]
    return folded_table(
        f"Decisions: {title.lower()}", heads, list(zip(names, *counts, strict=True))[::-1]
    )


def _styled(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        barmode="stack",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        margin={"l": 44, "r": 8, "t": 30, "b": 44},
        height=245,
        # Few bars stay slim.
        bargap=max(0.35, 1 - 0.22 * max(len(bars.x) for bars in figure.data)),
        dragmode=False,
        template="none",
    )
    if not any(len(bars.x) for bars in figure.data):
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        figure.update_layout(showlegend=False, height=48, bargap=0)
        figure.update_layout(margin={"l": 0, "r": 0, "t": 8, "b": 8})
        figure.add_annotation(
            text=_NOTHING,
            x=0,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            showarrow=False,
        )
    return figure


def _short(text: str) -> str:
    # Plotly reads markup in labels: a label is never more than its words.
    plain = text.replace("<", "‹").replace(">", "›").replace("&", "+")
    return plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 1]}…"
