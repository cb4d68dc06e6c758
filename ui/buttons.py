"""States of a page's buttons: primary, disabled with a reason, guarded by a question, working.

Gradio's buttons have no title and no question. A page therefore has one hidden list of notes on its
buttons (`notes_html`), which the script in `HEAD` applies; `ui.serving` adds it to every page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.blocks import html
from ui.units import escape

WORKS = "ts-works"
"""Class of a button that shows that it works from the click to the reply; see `ends_work`."""


@dataclass(frozen=True)
class ButtonState:
    """The state of a button; `reason` says why it cannot be pressed, and is empty if it can.

    With a `question`, a click asks it first and goes on with the button named `yes`.
    """

    reason: str = ""
    primary: bool = False
    visible: bool = True
    question: str = ""
    yes: str = "Yes"

    @property
    def ready(self) -> bool:
        """Return True if the button is shown and can be pressed."""
        return self.visible and not self.reason


def button_properties(state: ButtonState) -> dict[str, Any]:
    """Return the properties of Gradio's button in a state."""
    return {
        "interactive": not state.reason,
        "variant": "primary" if state.primary else "secondary",
        "visible": state.visible,
    }


def button_update(state: ButtonState, **more: Any) -> Any:
    """Return Gradio's update of a button; `more` are further properties, such as `value`."""
    return gr.update(**button_properties(state), **more)


def start_as(buttons: Iterable[gr.Button], states: Mapping[str, ButtonState]) -> None:
    """Give buttons that are not served yet the states of their `elem_id`."""
    for button in buttons:
        for name, value in button_properties(states[str(button.elem_id)]).items():
            setattr(button, name, value)


def with_one_primary(states: Mapping[str, ButtonState]) -> dict[str, ButtonState]:
    """Return the states with the first ready button as the only primary one, in the given order."""
    first = next((name for name, state in states.items() if state.ready), None)
    return {
        name: ButtonState(state.reason, name == first, state.visible, state.question, state.yes)
        for name, state in states.items()
    }


def notes_html(states: Mapping[str, ButtonState]) -> str:
    """Return the hidden list of reasons and questions, by the `elem_id` of their buttons."""
    return "".join(
        f'<p id="why-{escape(name)}" data-button="{escape(name)}" '
        f'data-question="{escape(state.question)}" data-yes="{escape(state.yes)}">'
        f"{escape(state.reason)}</p>"
        for name, state in states.items()
    )


def notes(states: Mapping[str, ButtonState]) -> gr.HTML:
    """Return the component of `notes_html`, which takes no space."""
    return html(notes_html(states), "ts-unseen")


def ends_work(event: Any, elem_id: str, name: str) -> None:
    """Have a button of class `WORKS` stop showing that it works once its `event` has ended.

    `name` is the API name of the event.
    """
    # Gradio calls `then` only after success.
    for follow, ending in ((event.then, "ended"), (event.failure, "failed")):
        follow(
            None,
            None,
            None,
            js=f"() => trisealDone({elem_id!r})",
            show_progress="hidden",
            concurrency_limit=8,
            api_name=f"{name}_{ending}",
            api_visibility="private",
        )


HEAD = """<script>
// Notes on buttons, from the page's hidden list: reasons as titles, and questions before a click.
(() => {
  const agreed = new Set();
  const noteOf = (button) =>
    document.querySelector(`[data-button="${CSS.escape(button.id)}"]`);
  const apply = () => {
    for (const note of document.querySelectorAll("[data-button]")) {
      const button = document.getElementById(note.dataset.button);
      if (!button) continue;
      const why = button.disabled ? note.textContent.trim() : "";
      if (why && button.title !== why) {
        button.title = why;
        button.setAttribute("aria-describedby", note.id);
      } else if (!why && button.hasAttribute("title")) {
        button.removeAttribute("title");
        button.removeAttribute("aria-describedby");
      }
    }
  };
  let due = 0;
  const changes = new MutationObserver(() => {
    if (!due) due = setTimeout(() => { due = 0; apply(); }, 30);
  });
  changes.observe(document.documentElement, {
    childList: true, subtree: true, characterData: true, attributes: true,
    attributeFilter: ["disabled"],
  });
  const ask = (button, question, yes) => {
    const dialog = document.createElement("dialog");
    dialog.className = "ts-asking";
    dialog.setAttribute("aria-labelledby", "ts-question");
    const text = document.createElement("p");
    text.id = "ts-question";
    text.textContent = question;
    const keep = document.createElement("button"), go = document.createElement("button");
    keep.textContent = "Cancel";
    go.textContent = yes;
    go.className = "ts-yes";
    keep.onclick = () => dialog.close();
    go.onclick = () => { dialog.close(); agreed.add(button.id); button.click(); };
    dialog.onclose = () => { dialog.remove(); button.focus(); };
    dialog.append(text, keep, go);
    (document.querySelector(".gradio-container") || document.body).append(dialog);
    dialog.showModal();
    // Next to the button: a frame may be much taller than the window that shows it.
    const place = button.getBoundingClientRect();
    const lowest = Math.max(8, innerHeight - dialog.offsetHeight - 8);
    dialog.style.top = Math.min(Math.max(8, place.bottom + 8), lowest) + "px";
  };
  addEventListener("click", (event) => {
    const button = event.target.closest ? event.target.closest("button[id]") : null;
    if (!button || button.disabled) return;
    const note = noteOf(button);
    const question = note ? note.dataset.question : "";
    const busy = button.getAttribute("aria-busy") === "true";
    if (busy || (question && !agreed.delete(button.id))) {
      event.stopImmediatePropagation();
      event.preventDefault();
      if (!busy) ask(button, question, note.dataset.yes);
      return;
    }
    if (button.classList.contains("ts-works")) button.setAttribute("aria-busy", "true");
  }, true);
  window.trisealDone = (id) => {
    const button = document.getElementById(id);
    if (button) button.removeAttribute("aria-busy");
  };
})();
</script>"""
