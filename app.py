"""Entry: the browser demonstration. `python app.py` while a server runs; `make demo` for both."""

from __future__ import annotations

import os
import sys

# Before Gradio is imported: it reports to its makers unless told otherwise at that moment.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from parties.transport import ServerClient
from settings import Settings
from ui.entry import run_entry
from ui.waiting import check_port, wait_for_server


def serve(settings: Settings) -> None:
    """Wait for the server, build the page from its public model, and serve it until ended."""
    check_port(settings.page_host, settings.page_port, "The page", "TRISEAL_PAGE_PORT")

    import backend  # these take seconds: a port in use is to show at once
    from ui.page import build_page
    from ui.theme import STYLE, theme

    with ServerClient.from_settings(settings) as client:
        wait_for_server(client, _say)
    page = build_page(backend.connection().public, settings.deployment)
    _say(f"The page is at http://{settings.page_host}:{settings.page_port}")
    page.queue().launch(
        server_name=settings.page_host,
        server_port=settings.page_port,
        theme=theme(),
        css_paths=STYLE,
        footer_links=[],
        quiet=True,
        share=False,
        ssr_mode=False,
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(run_entry(serve))
