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
    assert len(EXAMPLE.read_text().splitlines()) < 110


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
