"""The Python interpreter for each engine: this one, or that of Concrete's own environment.

Concrete pins older libraries than the rest of the project, so it is installed in `.venv-concrete`.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from utils.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[1]
CONCRETE_PYTHON = ROOT / ".venv-concrete" / "bin" / "python"


def has_concrete() -> bool:
    """Return True if this process can import Concrete."""
    return find_spec("concrete") is not None


def can_run(engine: str) -> bool:
    """Return True if this process has the libraries of an engine."""
    return not engine.startswith("concrete") or has_concrete()


def interpreter_of(engine: str) -> str:
    """Return the path of the interpreter that can run an engine.

    Raises EngineUnavailable if the engine needs Concrete and it is not installed.
    """
    if can_run(engine):
        return sys.executable
    if CONCRETE_PYTHON.is_file():
        return str(CONCRETE_PYTHON)
    raise EngineUnavailable(
        "Concrete's libraries (about 6 GB) are not installed here; run `make setup-concrete`."
    )
