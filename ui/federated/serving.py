"""Serving the page of a training, for `python -m federated`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from settings import Settings
from ui.gradio_environment import gradio_environment
from ui.places import consent_place, said_address
from utils.collector import without_collections

if TYPE_CHECKING:  # imported only by an agent with a page
    from federated.agents.at_work import AtWork


@contextmanager
def open_training_page() -> Iterator[Callable[[AtWork, Settings, int], None]]:
    """Import Gradio, which takes seconds, and yield a function that serves an agent's page.

    The function prints the page's address and returns when the page is stopped.
    """
    with gradio_environment():
        with without_collections():
            from ui.federated.page import build_training_page
            from ui.serving import serve_page

        def serve(work: AtWork, settings: Settings, port: int) -> None:
            page = build_training_page(work)
            title = f"the page of {work.name}"
            place = consent_place(settings, work.kind, title, port)
            print(f"The page of {work.name} is at {said_address(place)}", flush=True)
            serve_page(page, place)

        yield serve
