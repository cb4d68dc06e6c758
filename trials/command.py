"""How both trials begin and end: whoever ends them, their servers end too."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def end_when_told() -> None:
    """Have SIGTERM end this process as Ctrl-C does, so that what it started is ended as well."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)
