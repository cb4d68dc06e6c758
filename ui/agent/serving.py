"""Serving a party's own page, for `python -m parties`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from parties.agent import Agent
from settings import Settings
from ui.gradio_environment import gradio_environment
from ui.places import agent_place, said_address
from utils.collector import without_collections


@contextmanager
def open_pages() -> Iterator[Callable[[Agent, Settings, int], None]]:
    """Import Gradio, which takes seconds, and yield a function that serves an agent's page.

    The function prints the page's address and returns when the page is stopped.
    """
    with gradio_environment():
        with without_collections():
            from ui.agent.demonstration import DemonstrationCalls
            from ui.agent.page import HEAD, build_agent_page
            from ui.serving import serve_page

        def serve(agent: Agent, settings: Settings, port: int) -> None:
            page = build_agent_page(agent)
            place = agent_place(settings, agent.party.name, agent.party.label, port)
            print(f"The {agent.party.label}'s page is at {said_address(place)}", flush=True)
            token = settings.demonstration_token
            if token is None:
                serve_page(page, place, HEAD)
                return
            secret = token.get_secret_value()
            serve_page(page, place, HEAD, lambda a: DemonstrationCalls(a, agent, place, secret))

        yield serve
