"""Running an entry point: a known error is printed as one line, with exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from settings import Settings, get_settings
from utils.errors import TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text


def run_entry(serve: Callable[[Settings], None]) -> int:
    """Call `serve` with the settings and return the exit code."""
    print_any_text()
    try:
        serve(get_settings())
    except (TrisealError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0
