"""The walk-through of a training by four lenders is run in bash exactly as documented."""

from tests.walk_through import WalkThrough


def test_responses_are_those_of_the_document(tmp_path):
    WalkThrough("federated.md", ("8000", "5001")).run(tmp_path).require_responses(5)
