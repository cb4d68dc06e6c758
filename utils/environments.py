"""The Python interpreter of each environment: this one, or Concrete's beside it.

Concrete pins older libraries than the rest of the project, so it has `.venv-concrete` to itself.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from utils.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[1]
CONCRETE_PYTHON = ROOT / ".venv-concrete" / "bin" / "python"


def has_concrete() -> bool:
    """Whether this process can import Concrete."""
    return find_spec("concrete") is not None


def can_run(engine: str) -> bool:
    """Whether this process has the libraries of an engine."""
    return not engine.startswith("concrete") or has_concrete()


def interpreter_of(engine: str) -> str:
    """Returns the interpreter that can run an engine.

    Raises EngineUnavailable where Concrete is installed nowhere.
    """
    if can_run(engine):
        return sys.executable
    if CONCRETE_PYTHON.is_file():
        return str(CONCRETE_PYTHON)
    raise EngineUnavailable(
        "Concrete's libraries (about 6 GB) are not installed here; run `make setup-concrete`."
    )
