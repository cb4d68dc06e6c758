"""Ticks of a page's timer that wait for a change, so that an idle page costs almost nothing.

While an event waits, each component of Gradio that it shows progress on draws a frame again and
again, even if progress is hidden. Ticks therefore show it on the page's state, which draws nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_SECONDS = 4.0
"""Longest wait of a tick; a page that was closed meanwhile occupies a worker for that long."""
GLANCE_SECONDS = 0.1
TICK_SECONDS = 0.4
"""Pause between two ticks."""
CONCURRENT_TICKS = 32
"""Waiting ticks per page, of Gradio's 40 workers; the others serve the buttons."""


async def wait_for(happened: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    """Wait at most `seconds` until `happened` returns True; return its last value."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not happened():
        if loop.time() >= end:
            return False
        await asyncio.sleep(GLANCE_SECONDS)
    return True
