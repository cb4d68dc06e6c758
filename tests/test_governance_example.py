"""The walk-through for owners and institutions is run in bash exactly as documented."""

import re

import pytest

from tests.walk_through import WalkThrough


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    guide = WalkThrough("governance.md", ("8000", "5001", "5002", "5101"))
    return guide.run(tmp_path_factory.mktemp("governance"))


def test_responses_are_those_of_the_document(walk):
    walk.require_responses(18)


def test_values_of_the_data_appear_in_no_response(walk):
    """The results are the only values; a single income and the record's own are in none."""
    printed = "".join(walk.printed)
    for value in ("2100", "2450", "Ann Example", "1990-04-01", "42000", "DE02120300000000202051"):
        assert not re.search(rf"\b{value}\b", printed), value
