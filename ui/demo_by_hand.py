"""Scripts that start a party's process by hand as the demonstration started it.

A script is in the party's own folder, readable by this user only, because it has the token of the
party's page.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from settings import ROOT
from utils.atomic_files import write_atomic

FILE = "start.sh"
_PREFIX = "TRISEAL_"


def write_script(folder: Path, words: Sequence[str], variables: Mapping[str, str]) -> str:
    """Write the script for `python -m WORDS` to `folder`; return the command that runs it.

    The script sets `variables` and this process's own settings.
    """
    given = {name: v for name, v in os.environ.items() if name.upper().startswith(_PREFIX)}
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in {**given, **variables}.items()
    )
    command = shlex.join([sys.executable, "-m", *words])
    text = f"#!/bin/sh\ncd {shlex.quote(str(ROOT))} || exit 1\n{exports}exec {command}\n"
    path = folder / FILE
    write_atomic(path, text.encode())
    return f"sh {shlex.quote(shown_path(path))}"


def shown_path(path: Path) -> str:
    """Return the path as a user in the project's folder may write it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
