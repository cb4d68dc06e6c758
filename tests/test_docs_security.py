"""docs/SECURITY.md matches the code: the tests, settings and files that it names exist.

The tests that docs/GOVERNANCE.md names exist as well.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache

import pytest

from service.api.messages import LARGEST_REQUEST
from service.applications import uploads
from service.applications.party_tokens import MOST_TOKENS
from settings import ROOT, Settings
from web import connections, rate_limits
from web.body_limits import SMALL_BODY

PAGE = (ROOT / "docs" / "SECURITY.md").read_text()
GOVERNANCE = (ROOT / "docs" / "GOVERNANCE.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE + GOVERNANCE)


def section(name: str) -> list[list[str]]:
    """Return the cells of the table between two marks, without its header."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    rows = PAGE[PAGE.index(begin) : PAGE.index(end)].splitlines()[3:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@lru_cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)), ids=lambda part: part)
def test_every_named_test_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert name.startswith("test_")
    assert name in functions_of(path)


def test_every_defence_has_its_test() -> None:
    rows = section("defences")
    assert len(rows) > 20
    for defence, shown_by in rows:
        assert re.fullmatch(r"(`tests/[\w/]+\.py::test_\w+` ?)+", shown_by), defence


def test_every_mentioned_test_is_recognised() -> None:
    assert len(re.findall(r"`tests/", PAGE + GOVERNANCE)) == len(NAMED)


def test_checklist_covers_both_chapters_completely() -> None:
    numbers: set[str] = set()
    for cell, asks, here in section("asvs"):
        assert asks and here
        ends = re.fullmatch(r"(4\.4)\.1 to \1\.4", cell)
        numbers |= {f"4.4.{i}" for i in range(1, 5)} if ends else set(cell.split(", "))
    sections = {"4.1": 5, "4.2": 5, "4.3": 2, "4.4": 4, "5.1": 1, "5.2": 6, "5.3": 3, "5.4": 3}
    assert numbers == {f"{s}.{i}" for s, count in sections.items() for i in range(1, count + 1)}


def test_every_named_setting_exists() -> None:
    named = {name.lower() for name in re.findall(r"TRISEAL_([A-Z_]+)", PAGE)}
    assert named
    assert named <= set(Settings.model_fields)


def test_every_link_resolves() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_documented_limits_match_the_code() -> None:
    assert SMALL_BODY == uploads.UNADMITTED_BYTES == connections.HEAD_BYTES == 64 * 1024
    assert round(LARGEST_REQUEST / 1024) == 89
    assert (connections.PIPELINED, connections.CONNECTIONS) == (8, 4096)
    assert (rate_limits.TOKEN_UPLOADS, rate_limits.TOKEN_WAITS, rate_limits.OPENINGS) == (
        4,
        32,
        600,
    )
    assert MOST_TOKENS == 8
    for said in (
        "64 KiB",
        "89 KiB",
        "| 4096,",
        "`TRISEAL_MAXIMUM_UPLOADS`; 4 |",
        "`; 32 |",
        "| 8 |",
        "| 600 |",
    ):
        assert said in PAGE, said
