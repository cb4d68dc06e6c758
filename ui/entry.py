"""How an entry of the demonstration ends: errors that have a name are one line and exit code 1."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from pydantic import ValidationError
from pydantic_settings import SettingsError

from settings import Settings, get_settings
from utils.errors import TrisealError


def run_entry(serve: Callable[[Settings], None]) -> int:
    """Call `serve` with the settings until it is over; answers the exit code."""
    try:
        serve(get_settings())
    except ValidationError as error:
        names = ", ".join(f"TRISEAL_{str(e['loc'][0]).upper()}" for e in error.errors() if e["loc"])
        print(f"These settings are not valid: {names}; see the README.", file=sys.stderr)
        return 1
    except SettingsError as error:  # what should be JSON is none; the value is not in the words
        named = re.search(r'field "(\w+)"', str(error))
        name = f"TRISEAL_{named[1].upper()}" if named else "one of TRISEAL_*"
        print(f"These settings are not valid JSON: {name}; see the README.", file=sys.stderr)
        return 1
    except TrisealError as error:
        print(error.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0
