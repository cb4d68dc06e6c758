"""The search for other hosts finds those in every form in which a page could name one."""

import pytest

from tests.ui.hosts import named_hosts, other_hosts


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example.com/x.js">',
        "<link href='//fonts.example.com'>",
        "default-src 'self' https://cdn.example.com; img-src *",
        '{"url": "https://example.com\\/x"}',
        "wss://example.com:9000/stream",
    ],
)
def test_other_hosts_are_found(text):
    assert len(named_hosts(text)) == 1


def test_names_of_formats_and_this_machine_are_not_other_hosts():
    assert named_hosts('<svg xmlns="http://www.w3.org/2000/svg">') == set()
    assert named_hosts("http://127.0.0.1:7860/x http://localhost/ // a comment.") == set()
    own = ["http://127.0.0.1:1/", "http://[::1]:2/x", "data:,", "blob:http://x/1", "about:blank"]
    assert other_hosts(own) == set()
    assert other_hosts([*own, "https://example.com/x"]) == {"example.com"}
