"""Entry point of the browser demonstration.

Run `python app.py` while a server is running; `make demo` starts everything. With joint keys this
is the stage, which shows the parties' own pages (`python -m parties`) side by side; with any other
engine it is a single page that plays all parties.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import sys
from collections.abc import Sequence

from parties.client import ServerClient
from parties.waiting import wait_for_server
from settings import Settings, settings_help
from ui.entry import run_entry
from ui.gradio_environment import gradio_environment
from ui.places import page_place, said_address
from utils.collector import without_collections
from utils.ports import check_port

SETTINGS = ("server_url", "page_host", "page_port", "agent_port", "page_url", "page_token")
"""The settings in the help; docs/SETTINGS.md has all."""


def serve(settings: Settings) -> None:
    """Wait for the server, build the page for its engine, and serve it until interrupted."""
    check_port(settings.page_host, settings.page_port, "The page", "TRISEAL_PAGE_PORT")
    with gradio_environment():
        _serve(settings)


def _serve(settings: Settings) -> None:
    # Imported late because they take seconds: a port in use is reported at once.
    with without_collections():
        import backend
        from ui.serving import serve_page
        from ui.single import page as single
        from ui.stage import page as stage
        from ui.stage.presence import Presence

    client = ServerClient.from_settings(settings)  # never closed: handlers may still use it
    wait_for_server(client, _say)
    public = client.model()
    if public.engine.joint_keys:
        # Every party has its own process and page; the stage only shows them together.
        page, head = stage.build_stage(public, client, settings), stage.HEAD
        place = page_place(settings, public.schema_.party_names)
        missing = Presence(public.schema_.parties, settings).missing()
        if missing:
            _say(f"{missing}; or stop this and run `make demo`, which starts everything.")
    else:
        page, head = single.build_page(backend.connection().public, settings.deployment), ""
        place = page_place(settings)
    _say(f"The page is at {said_address(place)}")
    serve_page(page, place, head)


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Serve the page until it is stopped; returns the exit code."""
    CommandParser(
        prog="python app.py", description=__doc__, epilog=settings_help(*SETTINGS)
    ).parse_args(arguments)
    return run_entry(serve)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
