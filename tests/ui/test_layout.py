"""The page is built for any schema, and every event is limited and has a name."""

import pytest

from tests.ui.conftest import public_of
from ui.single.page import build_page


@pytest.fixture
def built(any_schema, tmp_path):
    return any_schema, build_page(public_of(any_schema), tmp_path)


def test_every_party_has_its_fields_and_its_button(built):
    schema, page = built
    ids = {block.elem_id for block in page.blocks.values() if block.elem_id}
    assert {f"field-{column.name}" for column in schema.columns()} <= ids
    assert {f"send-{name}" for name in schema.party_names} <= ids


def test_every_event_has_a_name_and_a_limit(built):
    schema, page = built
    names = [event.api_name for event in page.fns.values()]
    steps = ["make_keys", "send_all", "run", "open_decision", "explain", "all_steps", "start_over"]
    assert set(names) >= {*steps, *(f"send_{name}" for name in schema.party_names)}
    assert len(names) == len(set(names)) and all(names)
    assert all(isinstance(event.concurrency_limit, int) for event in page.fns.values())
    assert page.analytics_enabled is False
