"""The example client is short, imports nothing of the project, and gets the right score."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parties.running import Oracle, started
from utils.child_process import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "http_client.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = started(tmp_path_factory.mktemp("example"), ROOT / "deployment_files", "concrete")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shipped():
    return Oracle(ROOT / "deployment_files")


def run(folder, url, *own):
    """Run the example outside the repository, so that it cannot import any of its modules."""
    script = folder / "client.py"
    script.write_bytes(EXAMPLE.read_bytes())
    return subprocess.run(
        [sys.executable, "-W", "ignore", script, url, *own],
        cwd=folder,
        env={k: v for k, v in environment().items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 90


def test_example_imports_nothing_from_the_project():
    imported = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    ours = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert {"features", "parties", "settings"} <= ours
    assert not imported & ours
    assert imported - sys.stdlib_module_names == {"requests", "concrete", "cryptography"}


def test_complete_record_gets_the_reference_score(server, shipped, tmp_path):
    record = shipped.find("already approved")
    done = run(tmp_path, server.url, json.dumps(record))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"approved: score {shipped.score(record)}, ")
    assert "s on the server" in done.stdout


def test_missing_values_use_form_defaults(server, shipped, tmp_path):
    own = {"Total_income": 90000, "Occupation_type": None, "Employed": False, "Years_employed": 0}
    score = shipped.score(shipped.default() | own)
    assert score < 0
    done = run(tmp_path, server.url, json.dumps(own))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"denied: score {score}, ")


def test_server_error_is_printed(server, tmp_path):
    """The address is wrong, and the problem's own detail is printed."""
    done = run(tmp_path, server.url + "/nowhere")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.strip()
