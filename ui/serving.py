"""Serving a page: behind its guard, without history, sharing or external resources."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from ui.buttons import HEAD as BUTTONS
from ui.gradio_document import GradioDocument
from ui.guard import PageGuard
from ui.places import Place
from ui.streams import PageServer
from ui.theme import STYLE, theme

GRACE_SECONDS = 2
"""Seconds for requests in progress to finish on shutdown."""
PAUSES = {"sleep_when_free": 0.005, "progress_update_sleep_when_free": 0.1}
"""Pauses in seconds after which Gradio's queue looks for events and for their progress again.

With its own, 1 ms and 10 ms, a page that nobody has open takes 2 % of a processor core. The first
is short, since Gradio begins events that it finds together in any order.
"""


def app_of(page: gr.Blocks, place: Place, head: str = "") -> FastAPI:
    """Return the page as an app without its guard; `head` is more HTML for its head."""
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        server_name=place.host,
        server_port=place.port,
        root_path=place.url,
        theme=theme(),
        css_paths=STYLE,
        head=BUTTONS + head,
        footer_links=[],
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,  # it would keep form values in the browser's storage
    )
    for name, seconds in PAUSES.items():
        setattr(page._queue, name, seconds)
    return app


def serve_page(
    page: gr.Blocks,
    place: Place,
    head: str = "",
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> None:
    """Serve a page until it receives Ctrl-C or SIGTERM.

    `around` wraps the guarded page, for calls that have an access control of their own.
    """
    config = uvicorn.Config(
        around(PageGuard(GradioDocument(app_of(page, place, head)), place)),
        http="httptools",
        host=place.host,
        port=place.port,
        log_level="warning",
        proxy_headers=False,  # the guard knows the page's own address
        access_log=False,  # addresses carry tokens and join codes
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    signal.signal(signal.SIGTERM, _end)  # uvicorn re-raises the signal after its shutdown
    PageServer(config).run()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
