"""The check of a page by axe-core, which scripts/install_axe puts into build/axe-core."""

from functools import cache

from settings import ROOT

AXE = ROOT / "build" / "axe-core" / "axe.min.js"
BARRIERS = ("serious", "critical")
SCHEMES = ("light", "dark")

# Gradio notes the mode; the other pages use the browser's.
MODE = """dark => !document.querySelector(".gradio-container") ||
  document.body.classList.contains("dark") === dark"""
ONLY_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""Options of axe-core: the rules that depend on colours; all others do not depend on the scheme."""
WITHOUT_CONTRAST = {"rules": {"color-contrast": {"enabled": False}}}
"""Options of axe-core: all rules but the slowest, which takes about half of the time."""
RUN = """async (options) => {
  const running = document.getAnimations()
    .filter((each) => each.effect?.getComputedTiming().iterations !== Infinity);
  await Promise.allSettled(running.map((each) => each.finished));
  const found = await axe.run(document, {
    iframes: false, preload: false, resultTypes: ["violations"],
    ...options,
  });
  return found.violations.map((rule) => ({
    rule: rule.id,
    impact: rule.impact,
    nodes: rule.nodes.map((node) => [node.target.join(" "), node.html, node.failureSummary]),
  }));
}"""


@cache
def axe():
    """Return the text of axe-core."""
    if not AXE.is_file():
        raise FileNotFoundError(f"{AXE} is missing: run scripts/install_axe.")
    return AXE.read_text(encoding="utf-8")


def barriers(frame, options=None):
    """Return the serious and critical violations in a document, without those in its frames.

    `options` are further ones of axe-core.
    """
    if not frame.evaluate("typeof axe === 'object'"):
        frame.evaluate(axe())
    return [
        f"{found['rule']}: {target} {html[:300]}\n{summary}"
        for found in frame.evaluate(RUN, options)
        if found["impact"] in BARRIERS
        for target, html, summary in found["nodes"]
    ]


def check_accessible(page, schemes=SCHEMES, widths=()):
    """Assert that no barrier is on a page and in its frames, in light and dark mode.

    `widths` are those of the window; without any, it is left as it is.
    """
    before = page.viewport_size
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    own = SCHEMES[dark]
    found = {}
    order = sorted(schemes, key=lambda each: each == own)
    for width in widths or (before["width"],):
        if width != page.viewport_size["width"]:
            page.set_viewport_size({"width": width, "height": before["height"]})
        for i, scheme in enumerate(order):
            page.emulate_media(color_scheme=scheme)
            for frame in page.frames:
                if not _in_view(frame):
                    continue
                frame.wait_for_function(MODE, arg=scheme == "dark", polling=100)
                for each in barriers(frame, ONLY_COLOURS if i else None):
                    found.setdefault(each, f"{width} px, {scheme}, {frame.url.split('?')[0]}")
    page.emulate_media(color_scheme=own)
    if page.viewport_size != before:
        page.set_viewport_size(before)
    assert not found, "\n\n".join(f"{where}: {text}" for text, where in found.items())


def _in_view(frame):
    """Scroll a frame into the window, since others are not drawn; return False if it is hidden."""
    if frame.parent_frame is None:
        return True
    host = frame.frame_element()
    if not host.is_visible():
        return False
    host.scroll_into_view_if_needed()
    return True
