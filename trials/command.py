"""Signal handling of the trials: their servers end with them."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def end_when_told() -> None:
    """Make SIGTERM exit this process like Ctrl-C, so that its child processes are ended too."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)
