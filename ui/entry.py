"""How an entry of the demonstration ends: errors that have a name are one line and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pydantic import ValidationError

from settings import Settings, get_settings
from utils.errors import TrisealError
from utils.terminal import print_any_text


def run_entry(serve: Callable[[Settings], None]) -> int:
    """Call `serve` with the settings until it is over; answers the exit code."""
    print_any_text()
    try:
        serve(get_settings())
    except ValidationError as error:
        names = ", ".join(f"TRISEAL_{str(e['loc'][0]).upper()}" for e in error.errors() if e["loc"])
        print(f"These settings are not valid: {names}; see the README.", file=sys.stderr)
        return 1
    except TrisealError as error:
        print(error.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0
