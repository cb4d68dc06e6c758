"""The cost of a page: what Gradio would do at every import, and while nobody uses the page."""

import sys
from types import SimpleNamespace

import gradio as gr

from ui.serving import PAUSES, app_of

COMPONENT = '''"""A component of its own."""
import gradio as gr


class Own(gr.HTML):
    """Like HTML."""

    EVENTS = []
'''


def test_gradio_writes_no_stubs_beside_the_sources(tmp_path, monkeypatch):
    (tmp_path / "own_component.py").write_text(COMPONENT)
    monkeypatch.syspath_prepend(tmp_path)
    import own_component

    monkeypatch.delitem(sys.modules, own_component.__name__)
    assert issubclass(own_component.Own, gr.HTML)
    assert not list(tmp_path.glob("*.pyi"))


def test_an_idle_page_looks_for_events_less_often_than_gradio_does():
    with gr.Blocks() as page:
        gr.Markdown("Idle.")
    own = dict(vars(page._queue))
    app_of(page, SimpleNamespace(host="127.0.0.1", port=1, url=None))
    found = vars(page._queue)
    assert all(found[name] == pause > own[name] for name, pause in PAUSES.items())
