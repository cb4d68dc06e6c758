"""How a page of Triseal is served: locally, without history, sharing or anything fetched."""

from __future__ import annotations

import gradio as gr

from ui.theme import STYLE, theme
from utils.addresses import in_brackets


def serve_page(page: gr.Blocks, host: str, port: int, head: str = "") -> None:
    """Serve a page until it is ended; `head` is HTML for the document's head."""
    page.queue().launch(
        server_name=in_brackets(host),  # Gradio makes URLs of it
        server_port=port,
        theme=theme(),
        css_paths=STYLE,
        head=head or None,
        footer_links=[],
        quiet=True,
        share=False,
        ssr_mode=False,
        run_history=False,  # it would keep what people type in the browser's storage
    )
