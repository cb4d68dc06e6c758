"""Serving a data owner's page, for `python -m parties owner`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from settings import Settings
from ui.gradio_environment import gradio_environment
from ui.places import consent_place, said_address
from utils.collector import without_collections

if TYPE_CHECKING:  # imported only by an agent with a page
    from parties.governance.owner import Owner


@contextmanager
def open_owner_page() -> Iterator[Callable[[Owner, Settings, int], None]]:
    """Import Gradio, which takes seconds, and yield a function that serves an owner's page.

    The function prints the page's address and returns when the page is stopped.
    """
    with gradio_environment():
        with without_collections():
            from ui.owner.page import build_owner_page
            from ui.serving import serve_page

        def serve(owner: Owner, settings: Settings, port: int) -> None:
            page = build_owner_page(owner, settings.deployment)
            place = consent_place(settings, "owner", f"{owner.name}'s page", port)
            print(f"{owner.name}'s page is at {said_address(place)}", flush=True)
            serve_page(page, place)

        yield serve
