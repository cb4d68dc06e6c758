"""Take the pictures of the pages for README.md and docs/, from a running demonstration.

Start `make demo` with the levelled engine, and give the link that it prints:

    .venv/bin/python -m scripts.screenshots LINK

It plays an application on the stage, to the explanation and reasons of a denial, and writes

    docs/page.png        the stage, from its steps on
    docs/party.png       the page of the first party by itself
    docs/phone.png       the same page in a narrow, dark window, from the decision on
    docs/compliance.png  the compliance page

with at most 256 colours each. Gradio brings Pillow, which reduces them.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Error, Page

from settings import ROOT
from trials.browser import ChromiumMissing, chromium
from utils.atomic_files import write_atomic

WIDE, NARROW = (1280, 900), (390, 844)
LONGEST = 2100
"""Most pixels in height of a picture."""
ABOVE = 24
"""Pixels that are shown above the element at which a picture begins."""
TIMEOUT_MILLISECONDS = 600_000
PLOT = ".js-plotly-plot .bars .point"
ALL_DONE = """() => {
  const steps = [...document.querySelectorAll(".ts-strip li")];
  return steps.length > 0 && steps.every((each) => each.classList.contains("done"));
}"""
DRAWING_MILLISECONDS = 5000
"""Time for the parties' pages to draw the last result after the stage knows of it."""
PLAY = re.compile(r"^Play\b")
DENIED = re.compile(r"denied.* would likely change", re.IGNORECASE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = CommandParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("link", help="link of the stage, as `make demo` prints it")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the pictures")
    options = parser.parse_args(arguments)
    try:
        with chromium() as browser:
            _take(browser, options.link, options.out)
    except (ChromiumMissing, Error) as error:
        print(f"scripts.screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def _take(browser: Browser, link: str, folder: Path) -> None:
    stage = _window(browser, WIDE, "light")
    stage.goto(link)
    _play(stage)
    _write(stage, folder / "page.png", ".ts-sticky")
    party = stage.locator("iframe[data-agent]").first.get_attribute("src") or ""
    compliance = stage.get_by_role("link", name="Open the compliance page")
    log = compliance.get_attribute("href") or ""
    for name, address, size, scheme, shown, begins in (
        ("party.png", party, WIDE, "light", PLOT, None),
        ("phone.png", party, NARROW, "dark", PLOT, "h2:has-text('The decision')"),
        ("compliance.png", log, WIDE, "light", "tr[data-entry]", None),
    ):
        page = _window(browser, size, scheme)
        page.goto(address)
        page.locator(shown).first.wait_for()
        _write(page, folder / name, begins)
        page.context.close()


def _window(browser: Browser, size: tuple[int, int], scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    return context.new_page()


def _play(stage: Page) -> None:
    """Play an example on the stage to its end; it is one that is denied and would be turned."""
    play = stage.get_by_role("button", name=PLAY)
    play.first.wait_for()
    denied = stage.get_by_role("radio", name=DENIED)
    if denied.count():
        denied.first.check()
    play.first.click()
    stage.wait_for_function(ALL_DONE, polling=500)
    stage.wait_for_timeout(DRAWING_MILLISECONDS)


def _write(page: Page, path: Path, begins: str | None) -> None:
    """Write a page as a PNG with a palette, once its plots have taken their size.

    The picture begins at the first element that the selector `begins` finds, or at the top.
    """
    page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    page.wait_for_timeout(1500)
    box = page.locator(begins).first.bounding_box() if begins else None
    first = max(0, int(box["y"]) - ABOVE) if box else 0
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    shown = taken.crop((0, first, taken.width, min(taken.height, first + LONGEST)))
    reduced = io.BytesIO()
    shown.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(reduced, "PNG", optimize=True)
    write_atomic(path, reduced.getvalue(), mode=0o644)
    print(f"{path}: {shown.width} x {shown.height}, {len(reduced.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    run_command(main)
