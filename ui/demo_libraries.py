"""The libraries of the demonstration's pages, imported once for all (ui/demo_processes.py)."""

from __future__ import annotations

from utils.command_line import end_at_once

import gc
import signal

from utils.collector import without_collections

with without_collections():
    import parties.command  # noqa: F401
    import ui.agent.page
    import ui.serving
    import ui.stage.page  # noqa: F401

signal.signal(signal.SIGINT, end_at_once)  # in the copies, which import the demonstration anew
gc.freeze()  # a collection would write to every object, and so copy the memory that is shared
