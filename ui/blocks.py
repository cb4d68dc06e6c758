"""The pieces that all pages are laid out with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component


def section() -> gr.Column:
    """A framed part of a page."""
    return gr.Column(elem_classes="ts-section")


def html(value: str, classes: str = "", min_width: int = 290) -> gr.HTML:
    """HTML, wide enough to move below a button rather than into a sliver beside it."""
    return gr.HTML(value, elem_classes=classes, min_width=min_width, apply_default_css=False)


def step_button(label: str, elem_id: str, min_width: int = 230) -> gr.Button:
    """The button of a step."""
    return gr.Button(label, variant="primary", min_width=min_width, scale=0, elem_id=elem_id)


def cancel_button(elem_id: str) -> gr.Button:
    """The button that ends a run; to be shown while there is one."""
    return gr.Button("Cancel", visible=False, min_width=110, scale=0, elem_id=elem_id)


def fill_by(
    buttons: Sequence[gr.Button], examples: Sequence[list[Any]], fields: list[Component]
) -> None:
    """Have each button put the values of its example into all fields."""
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
    # One field alone is an output by itself, not a list of one.
    return lambda: values if len(values) > 1 else values[0]
