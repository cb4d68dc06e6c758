"""`python -m trials.pages LINK …`: how soon pages are painted and ready in a browser.

Each LINK is one that a running page has printed. From the stage of `make demo`, the pages that it
leads to are measured too: those of the parties, with a new application, and those of compliance,
owner and institution. Every visit is made with an empty cache and then again with what the browser
has kept. A page is painted at its first contentful paint, and ready at the last change of its
document before a second without any, with all plots drawn. Exits with code 1 if the median of a
page is above 1.5 s (painted) or 4 s (ready), which are meant for two idle cores.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from playwright.sync_api import Browser, Error, Page

from training.measure.machine import machine
from training.measure.text_tables import Table, plain
from trials.browser import ChromiumMissing, chromium

WIDTHS = (1280, 390)
HEIGHT = 900
MOST_PAINTED, MOST_READY = 1.5, 4.0
"""Most seconds of a page, on two idle cores."""
TIMEOUT_MILLISECONDS = 60_000
QUIET_MILLISECONDS = 1000

# Before any script of the page: notes the time of the last change of the document. Gradio's hidden
# trackers of calls change with every tick of a timer.
OBSERVER = """
window.trisealChanged = performance.now();
const isHidden = (node) =>
  (node.closest ? node : node.parentElement)?.closest('[data-testid="status-tracker"]');
new MutationObserver((changes) => {
  if (!changes.every((each) => isHidden(each.target))) window.trisealChanged = performance.now();
}).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
"""
QUIET = f"""() => document.querySelector(".ts-head") &&
  [...document.querySelectorAll(".ts-plot")]
    .every((each) => !each.checkVisibility() || each.querySelector(".main-svg")) &&
  performance.now() - window.trisealChanged > {QUIET_MILLISECONDS}"""
TIMES = """() => {
  const painted = performance.getEntriesByName("first-contentful-paint")[0];
  const loaded = performance.getEntriesByType("resource");
  return {
    painted: painted ? painted.startTime / 1000 : Infinity,
    ready: window.trisealChanged / 1000,
    requests: loaded.length,
    bytes: loaded.reduce((sum, each) => sum + each.transferSize, 0),
  };
}"""


@dataclass(frozen=True)
class Visit:
    """The seconds until a page was painted and ready, its requests and bytes over the network."""

    painted: float
    ready: float
    requests: int
    bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with chromium() as browser:
            links = [each for link in options.links for each in _reached(browser, link)]
            rows = list(_measured(browser, links, options.widths, options.visits))
    except (ChromiumMissing, Error) as error:
        print(f"trials.pages: {error}", file=sys.stderr)
        return 1
    heads = ("page", "width", "cache", "painted, s", "ready, s", "requests", "kB")
    print(plain(Table(heads, [_cells(*row) for row in rows])))
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    slow = [row for row in rows if row[3].painted > MOST_PAINTED or row[3].ready > MOST_READY]
    return 1 if slow else 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m trials.pages", description=__doc__)
    parser.add_argument("links", nargs="+", metavar="LINK", help="link of a page, as printed")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=list(WIDTHS), help="of the window, in pixels"
    )
    parser.add_argument("--visits", type=int, default=5, help="visits of each page")
    return parser


def _reached(browser: Browser, link: str) -> Iterator[tuple[str, str]]:
    """Yield the name and link of a page and, if it is the stage, of those that it leads to."""
    with _window(browser, WIDTHS[0]) as page:
        page.goto(link)
        page.wait_for_function(QUIET)
        yield page.title(), link
        start = page.get_by_role("button", name="New application", exact=True)
        if not start.count():
            return
        others = page.get_by_role("link", name=re.compile("^Open the "))
        for other in others.all():
            name = other.inner_text().removeprefix("Open the ")
            yield name, other.get_attribute("href") or ""
        start.click()
        page.locator("iframe[data-agent]").first.wait_for()
        for frame in page.locator("iframe[data-agent]").all():
            yield frame.get_attribute("title") or "", frame.get_attribute("src") or ""


@contextmanager
def _window(browser: Browser, width: int) -> Iterator[Page]:
    """Open a window with an empty cache and no cookies."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT})
    context.add_init_script(OBSERVER)
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    try:
        yield context.new_page()
    finally:
        context.close()


def _measured(
    browser: Browser, links: Sequence[tuple[str, str]], widths: Sequence[int], visits: int
) -> Iterator[tuple[str, int, str, Visit]]:
    """Yield the medians of each page at each width, with an empty and with a filled cache."""
    for name, link in links:
        for width in widths:
            first, again = [], []
            for _ in range(visits):
                with _window(browser, width) as page:
                    first.append(_visit(page, link))
                    again.append(_visit(page, page.url))
            yield name, width, "empty", _medians(first)
            yield name, width, "filled", _medians(again)


def _visit(page: Page, address: str) -> Visit:
    page.goto(address)
    page.wait_for_function(QUIET)
    return Visit(**page.evaluate(TIMES))


def _medians(visits: Sequence[Visit]) -> Visit:
    return Visit(
        painted=median(visit.painted for visit in visits),
        ready=median(visit.ready for visit in visits),
        requests=int(median(visit.requests for visit in visits)),
        bytes=int(median(visit.bytes for visit in visits)),
    )


def _cells(name: str, width: int, cache: str, visit: Visit) -> tuple[str, ...]:
    times = (f"{visit.painted:.2f}", f"{visit.ready:.2f}")
    return (name, str(width), cache, *times, str(visit.requests), f"{visit.bytes / 1000:.0f}")


if __name__ == "__main__":
    run_command(main)
