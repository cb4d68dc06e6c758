"""The documents match the code: commands, settings, calls, files, links and figures."""

import json
import re
from pathlib import Path

import pytest

from scripts.write_docs import CALLERS, agents_page, api_page, settings_page
from settings import ROOT, Settings
from training.measure.benchmark_tables import markdown_sections

DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"))
}
README = DOCUMENTS["README.md"]
MAKEFILE = (ROOT / "Makefile").read_text()
FOREIGN_OPTIONS = {
    "--address",
    "--detach",
    "--file",
    "--no-deps",
    "--no-proxy-headers",
    "--rm",
    "--head",
    "--node-config",
    "--num-cpus",
    "--object-spilling-directory",
    "--port",
    "--root-certificates",
    "--run-config",
    "--stream",
    "--superlink",
    "--timeout-graceful-shutdown",
    "--trusted-entities",
}
"""Options of other programs: Docker, Ray, uvicorn and Flower."""

documents = pytest.mark.parametrize("name", DOCUMENTS)


def targets():
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def code_of(text):
    """Return the document's code blocks and code spans."""
    blocks = re.findall(r"```\w*\n(.+?)```", text, flags=re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```\w*\n.+?```", "", text, flags=re.DOTALL))
    return "\n".join([*blocks, *spans])


def anchors(text):
    """Return the anchors that GitHub generates for a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_has_at_most_1500_words():
    assert len(README.split()) <= 1500


def test_readme_names_the_main_make_targets():
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "setup", "train", "compile", "bench", "lint"} <= named
    assert {"check", "docs", "evaluate", "setup-concrete"} <= named
    assert named <= targets()


@documents
def test_every_named_make_target_exists(name):
    named = set(re.findall(r"\bmake ([a-z-]+)", code_of(DOCUMENTS[name])))
    assert named <= targets()


def test_the_readme_names_the_modules_for_training():
    named = set(re.findall(r"(?:python -m |`)(training\.[a-z_]+)", README))
    assert {"training.train", "training.compile"} <= named
    training = DOCUMENTS["docs/TRAINING.md"]
    assert {"training.train", "training.compile", "training.evaluate"} <= set(
        re.findall(r"(?:python -m |`)(training\.[a-z_]+)", training)
    )


@documents
def test_every_named_python_module_exists(name):
    text = DOCUMENTS[name]
    named = set(re.findall(r"python -m ([a-z_.]+)", text))
    named |= set(re.findall(r"`((?:training|service|parties|scripts)\.[a-z_.]+)", text))
    for module in named:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_readme_python_calls_existing_functions():
    import backend

    [block] = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    compile(block, "README.md", "exec")
    called = set(re.findall(r"backend\.(\w+)", block))
    assert {"keygen_send", "run_fhe", "get_output_and_decrypt"} <= called
    assert [name for name in called if not hasattr(backend, name)] == []


@documents
def test_every_named_option_exists(name):
    sources = "".join(
        path.read_text()
        for folder in ("federated", "parties", "service", "training", "trials", "ui", "witness")
        for path in (ROOT / folder).rglob("*.py")
    )
    sources += (ROOT / "verify.py").read_text()
    for option in set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", DOCUMENTS[name])):
        assert option in FOREIGN_OPTIONS or f'"{option}"' in sources, option


@documents
def test_every_link_resolves(name):
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENTS[name]):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), target


def test_the_readme_links_to_every_page():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert DOCUMENTS.keys() - {"README.md"} <= set(links)


@documents
def test_every_named_setting_exists(name):
    named = {found.lower() for found in re.findall(r"\bTRISEAL_([A-Z_]+)", DOCUMENTS[name])}
    named -= {"test_database_url", "test_on_postgresql"}  # of the tests alone
    assert named <= set(Settings.model_fields)


def settings_rows():
    rows = re.findall(
        r"^\| `TRISEAL_([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$",
        DOCUMENTS["docs/SETTINGS.md"],
        re.MULTILINE,
    )
    return {name.lower(): (default, meaning) for name, default, meaning in rows}


def test_the_settings_table_lists_every_setting_and_no_other():
    assert list(settings_rows()) == list(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_table_states_default_and_meaning(name):
    field = Settings.model_fields[name]
    default, meaning = settings_rows()[name]
    expected = field.default
    if isinstance(expected, Path):
        expected = expected.relative_to(ROOT)
    assert default == ("" if expected is None else str(expected))
    assert meaning == field.description


def test_settings_page_is_up_to_date():
    assert DOCUMENTS["docs/SETTINGS.md"] == settings_page(), "call `make docs`"


@pytest.fixture(scope="module")
def openapi():
    from service.app import create_app

    return create_app(Settings()).openapi()


def test_api_page_is_up_to_date(openapi):
    assert DOCUMENTS["docs/API.md"] == api_page(openapi), "call `make docs`"


def test_page_of_the_agents_is_up_to_date():
    page = DOCUMENTS["docs/AGENTS.md"]
    assert page == agents_page(), "call `make docs`"
    assert "#### `POST /host_session`" in page and "#### `POST /run_computation`" in page


def test_every_call_of_the_api_is_listed_and_no_other(openapi):
    served = {
        f"{method.upper()} {path}" for path, item in openapi["paths"].items() for method in item
    }
    page = DOCUMENTS["docs/API.md"]
    call = r"`((?:GET|POST|PUT|DELETE) /[^`]*)`"
    assert set(re.findall(rf"^\| {call} \|", page, re.MULTILINE)) == served
    assert set(re.findall(rf"^### {call}$", page, re.MULTILINE)) == served


def test_every_explicit_caller_belongs_to_an_operation(openapi):
    operations = [operation for item in openapi["paths"].values() for operation in item.values()]
    assert CALLERS.keys() <= {operation["operationId"] for operation in operations}


def test_every_error_of_the_api_is_explained(openapi):
    page = DOCUMENTS["docs/API.md"]
    used = set(re.findall(r"urn:triseal:error:([a-z-]+)", json.dumps(openapi["paths"])))
    assert set(re.findall(r"^\| `([a-z-]+)` \| \d{3} \|", page, re.MULTILINE)) == used


def test_measured_tables_match_the_benchmark():
    written = json.loads((ROOT / "deployment_files" / "benchmark.json").read_text())
    names = ("README.md", "docs/BENCHMARKS.md", "docs/PROTOCOL.md")
    assert f"--readme {' '.join(names)}\n" in MAKEFILE
    texts = "".join(DOCUMENTS[name] for name in names)
    sections = markdown_sections(written)
    assert len(sections) == texts.count("<!-- measured") / 2
    for (begin, end), section in sections.items():
        assert texts[texts.index(begin) : texts.index(end) + len(end)] == section


def test_benchmark_belongs_to_the_deployed_model():
    folder = ROOT / "deployment_files"
    manifest = json.loads((folder / "manifest.json").read_text())
    benchmark = json.loads((folder / "benchmark.json").read_text())
    assert benchmark["model_version"] == manifest["model_version"]
