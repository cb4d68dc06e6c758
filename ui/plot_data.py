"""Figures in the form in which Gradio sends them to the browser."""

from __future__ import annotations

import json

import plotly.graph_objects as go
from gradio.components.plot import PlotData

CONFIGURATION = {"displayModeBar": False}
"""Without Plotly's toolbar, which covers the legend and of which no button is needed."""


def plot_data(figure: go.Figure) -> PlotData:
    """Return a figure with Plotly's configuration, which `Figure.to_json` leaves out."""
    document = {**json.loads(figure.to_json()), "config": CONFIGURATION}
    return PlotData(type="plotly", plot=json.dumps(document))
