"""Serving an institution's page, for `python -m parties institution`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from settings import Settings
from ui.gradio_environment import gradio_environment
from ui.places import consent_place, said_address
from utils.collector import without_collections

if TYPE_CHECKING:  # imported only by an agent with a page
    from parties.governance.institution import Institution


@contextmanager
def open_institution_page() -> Iterator[Callable[[Institution, Settings, int], None]]:
    """Import Gradio, which takes seconds, and yield a function that serves the page.

    The function prints the page's address and returns when the page is stopped.
    """
    with gradio_environment():
        with without_collections():
            from ui.institution.page import build_institution_page
            from ui.serving import serve_page

        def serve(institution: Institution, settings: Settings, port: int) -> None:
            page = build_institution_page(institution)
            place = consent_place(settings, "institution", f"{institution.name}'s page", port)
            print(f"{institution.name}'s page is at {said_address(place)}", flush=True)
            serve_page(page, place)

        yield serve
