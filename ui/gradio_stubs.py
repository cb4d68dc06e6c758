"""Gradio without the type stubs that it writes whenever it is imported.

For each of its components it parses the component's source and an earlier stub, a .pyi file beside
the source. That takes a third of the time of its import, 0.7 s of a processor core.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

WRITER = "gradio.component_meta"
"""The module whose function `create_or_modify_pyi` writes them."""


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.create_or_modify_pyi = _write_nothing  # type: ignore[attr-defined]


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != WRITER:
            return None
        found = PathFinder.find_spec(name, path)
        if found is not None and found.origin is not None:
            found.loader = _Loader(name, found.origin)
        return found


def _write_nothing(*_: Any) -> None:
    pass


def write_no_stubs() -> None:
    """Have Gradio write none; call it before Gradio is imported."""
    sys.meta_path.insert(0, _Finder())
