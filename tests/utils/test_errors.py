"""The error hierarchy: it matches its documentation, and codes are stable names."""

import re

import pytest

from utils import errors
from utils.errors import TrisealError, error_classes

LINE = re.compile(r"^(?P<indent>[│ ]*)(?:├── |└── )?(?P<name>[A-Z]\w+)(?:\s{2,}\S.*)?$")


def documented_parents():
    """Return parent names by class name, read from the tree in the module's docstring."""
    tree = errors.__doc__.split("\n\n")[1].splitlines()
    parents, ancestors = {}, []
    for line in tree:
        found = LINE.match(line)
        assert found, f"not a line of a tree: {line!r}"
        depth = found.start("name") // 4
        ancestors = [*ancestors[:depth], found["name"]]
        parents[found["name"]] = ancestors[-2] if depth else "Exception"
    return parents


def test_documented_hierarchy_matches_the_classes():
    existing = {cls.__name__: cls.__base__.__name__ for cls in error_classes().values()}
    assert documented_parents() == existing


def test_every_class_of_the_tree_is_defined_in_this_module():
    defined = {
        name
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, TrisealError)
    }
    assert defined == {cls.__name__ for cls in error_classes().values()}


def test_codes_are_unique_hyphenated_class_names():
    classes = error_classes()
    assert len(classes) == len(documented_parents())
    for code, cls in classes.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert code == cls.code
        assert code.replace("-", "") == cls.__name__.lower()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("TrisealError", "triseal-error"),
        ("ValueOutOfDomain", "value-out-of-domain"),
        ("MalformedMessage", "malformed-message"),
        ("NotAuthorised", "not-authorised"),
        ("OutOfStep", "out-of-step"),
    ],
)
def test_published_codes_are_unchanged(name, code):
    assert getattr(errors, name).code == code


def test_code_is_not_shared_with_subclasses_or_parents():
    assert errors.FeatureError.code == "feature-error"
    assert errors.SchemaInvalid("x").code == "schema-invalid"
    assert TrisealError.code == "triseal-error"


def test_the_message_defaults_to_the_code():
    assert errors.OutOfStep("send first").message == "send first"
    assert errors.OutOfStep().message == "out-of-step"
