"""The README stays true: its commands, settings, calls, files and figures."""

import json
import re
from pathlib import Path

import pytest

from settings import ROOT, Settings
from training.measure.benchmark_tables import markdown_sections

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def targets():
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "setup", "train", "compile", "bench", "lint"} <= named
    assert named <= targets()


def test_every_python_module_that_is_named_exists():
    named = set(re.findall(r"(?:python -m |`)(training\.[a-z_]+)", README))
    assert {"training.train", "training.compile", "training.evaluate"} <= named
    for module in named:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_option_that_is_named_exists():
    sources = "".join(path.read_text() for path in (ROOT / "training").glob("*.py"))
    for option in set(re.findall(r"(--[a-z][a-z-]+)", README)):
        assert f'"{option}"' in sources, option


def test_every_link_to_a_file_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def settings_rows():
    rows = re.findall(
        r"^\| `TRISEAL_([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", README, re.MULTILINE
    )
    return {name.lower(): (default, meaning) for name, default, meaning in rows}


def test_the_settings_table_lists_every_setting_and_no_other():
    assert list(settings_rows()) == list(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_settings_table_tells_default_and_meaning(name):
    field = Settings.model_fields[name]
    default, meaning = settings_rows()[name]
    expected = field.default
    if isinstance(expected, Path):
        expected = expected.relative_to(ROOT)
    assert default == ("" if expected is None else str(expected))
    assert meaning == field.description


def test_every_call_of_the_api_is_listed_and_no_other():
    from service.app import create_app

    document = create_app(Settings(), None).openapi()
    served = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
    listed = set(re.findall(r"^\| `((?:GET|POST|DELETE) /[^`]*)` \|", README, re.MULTILINE))
    assert listed == served


def test_the_measured_tables_are_what_the_benchmark_wrote():
    written = json.loads((ROOT / "deployment_files" / "benchmark.json").read_text())
    texts = README + (ROOT / "docs" / "PROTOCOL.md").read_text()
    sections = markdown_sections(written)
    assert len(sections) == texts.count("<!-- measured") / 2
    for (begin, end), section in sections.items():
        assert texts[texts.index(begin) : texts.index(end) + len(end)] == section


def test_the_benchmark_is_of_the_model_that_is_deployed():
    folder = ROOT / "deployment_files"
    manifest = json.loads((folder / "manifest.json").read_text())
    benchmark = json.loads((folder / "benchmark.json").read_text())
    assert benchmark["model_version"] == manifest["model_version"]
