"""Layout components that all pages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import plotly.graph_objects as go
from gradio.components import Component

from ui.plot_data import plot_data


def section(visible: bool = True) -> gr.Column:
    """Return a framed section of a page."""
    return gr.Column(elem_classes="ts-section", visible=visible)


def folded(title: str) -> gr.Accordion:
    """Return a section that is folded at first, so that the page stays short."""
    return gr.Accordion(title, open=False, elem_classes="ts-folded")


def html(value: str, classes: str = "", min_width: int = 290) -> gr.HTML:
    """Return HTML with a minimum width, so that it wraps below a button instead of shrinking."""
    return gr.HTML(value, elem_classes=classes, min_width=min_width, apply_default_css=False)


def step_button(label: str, elem_id: str, min_width: int = 230, classes: str = "") -> gr.Button:
    """Return the main button of a step."""
    return gr.Button(
        label,
        variant="primary",
        min_width=min_width,
        scale=0,
        elem_id=elem_id,
        elem_classes=classes or None,
    )


def plot(
    figure: go.Figure | None = None, visible: bool = True, elem_id: str | None = None
) -> gr.Plot:
    """Return a plot without a frame, label or toolbar."""
    return gr.Plot(
        None if figure is None else plot_data(figure),
        show_label=False,
        container=False,
        visible=visible,
        elem_classes="ts-plot",
        elem_id=elem_id,
    )


def cancel_button(elem_id: str) -> gr.Button:
    """Return the button that cancels a run; hidden until a run starts."""
    return gr.Button("Cancel", visible=False, min_width=110, scale=0, elem_id=elem_id)


def fill_by(
    buttons: Sequence[gr.Button], examples: Sequence[list[Any]], fields: list[Component]
) -> None:
    """Make each button fill all fields with the values of its example."""
    for i, (values, pressed) in enumerate(zip(examples, buttons, strict=True)):
        pressed.click(
            _answering(values),
            None,
            fields,
            show_progress="hidden",
            concurrency_limit=8,
            api_name=f"example_{i}",
        )


def _answering(values: list[Any]) -> Callable[[], Any]:
    # Gradio expects a single output as a bare value, not as a list of one.
    return lambda: values if len(values) > 1 else values[0]
