"""The example client is short and imports nothing of the project.

It is run against a server in test_application_with_concrete.py.
"""

import ast
import subprocess
import sys
from pathlib import Path

from utils.child_process import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "http_client.py"


def run(folder, *words):
    """Run the example outside the repository, so that it cannot import any of its modules."""
    script = folder / "client.py"
    script.write_bytes(EXAMPLE.read_bytes())
    return subprocess.run(
        [sys.executable, "-W", "ignore", script, *words],
        cwd=folder,
        env={k: v for k, v in environment().items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 125


def test_help_names_the_arguments(tmp_path):
    shown = run(tmp_path, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: ") and "own values, as JSON" in shown.stdout


def refuses(folder, *words):
    refused = run(folder, *words)
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert refused.stderr.startswith("usage: ") and "Traceback" not in refused.stderr
    return refused.stderr.splitlines()[-1]


def test_wrong_arguments_are_usage_errors(tmp_path):
    assert "argument values: " in refuses(tmp_path, "http://127.0.0.1", "{")
    assert "127.0.0.1:8000" in refuses(tmp_path, "127.0.0.1:8000")


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
