"""A person who has a keyboard alone: Tab to an element with a visible focus, then a key."""

MOST_TABS = 250

# The focused element, or the one in its shadow, and whether its focus can be seen.
FOCUSED = """wanted => {
  if (!document.hasFocus()) return "";
  const found = document.activeElement;
  if (!found || !(wanted.text ? found.innerText.includes(wanted.text) && found !== document.body
                              : found.matches(wanted.selector))) return "";
  const style = getComputedStyle(found);
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const shadowed = style.boxShadow !== "none";
  return outlined || shadowed ? "visible" : "invisible";
}"""


def reach(page, selector, frame=None):
    """Press Tab until an element of a page, or of a frame in it, has the focus.

    `selector` is CSS, or `text=` and words on a button.
    """
    words = selector.removeprefix("text=")
    wanted = {"selector": selector} if words == selector else {"text": words}
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focus = (frame or page).evaluate(FOCUSED, wanted)
        if focus:
            assert focus == "visible", f"the focus of {selector} cannot be seen"
            return
    raise AssertionError(f"{selector} cannot be reached with Tab")


def press(page, selector, frame=None, key="Enter"):
    """Reach an element with Tab and press a key on it."""
    reach(page, selector, frame)
    page.keyboard.press(key)
