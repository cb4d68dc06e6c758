"""Debian's Chromium without windows, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium-headless-shell", "chromium")
"""Debian's names of Chromium, without and with its own windows, which cost processor time."""
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = "no chromium on this machine: run scripts/install_chromium, or set CHROMIUM to its path"


class ChromiumMissing(Exception):
    """No Chromium was found."""


def chromium_path() -> str | None:
    """Return the path of Chromium: that of the variable CHROMIUM, else Debian's; or None."""
    found = (os.environ.get("CHROMIUM"), *map(shutil.which, NAMES))
    return next(filter(None, found), None)


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Run Chromium with further options; raises ChromiumMissing if there is none."""
    path = chromium_path()
    if path is None:
        raise ChromiumMissing(MISSING)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*OPTIONS, *options])
        try:
            yield started
        finally:
            started.close()
