"""Every entry point has a help with its defaults, and never ends with a traceback.

All are tried in copies of one process that has imported them, since imports take most of the time;
a few also as a user starts them.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from settings import ROOT
from tests.commands.trying import CLOSED, HELP, INTERRUPTED, WRONG

OF_TESTS = {"tests.preloaded_process", "tests.test_preloaded", "tests.commands.trying"}
"""Parts of the tests, which no person starts."""
SCRIPTS = (
    "environment",
    "install_axe",
    "install_chromium",
    "install_nginx",
    "install_postgresql",
    "lock",
)
_IS_ENTRY = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)


def entry_points() -> list[str]:
    """Return the modules that may be started, as after `python -m`."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0].startswith((".", "build")) or parts[0] == "examples":
            continue
        if parts[-1] == "__main__":
            found.append(".".join(parts[:-1]) + ".__main__")
        elif _IS_ENTRY.search(path.read_text()):
            found.append(".".join(parts))
    return [module for module in found if module not in OF_TESTS]


MODULES = entry_points()


@pytest.fixture(scope="module")
def tries() -> dict[tuple[str, str], dict[str, Any]]:
    """Return how each entry point ended, by its module and the kind of the try."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.commands.trying", *MODULES],
        cwd=ROOT,
        env={name: v for name, v in os.environ.items() if not name.startswith("TRISEAL_")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return {(line["module"], line["kind"]): line for line in lines}


def test_entry_points_are_found() -> None:
    known = {"app", "server", "verify", "ui.demo", "parties.__main__", "training.train"}
    assert known < set(MODULES) and len(MODULES) > 40
    texts = [path.read_text() for path in ROOT.glob("*.py")]
    assert len([text for text in texts if _IS_ENTRY.search(text)]) == 3


@pytest.mark.parametrize("module", MODULES)
def test_help_starts_nothing(tries: Any, module: str) -> None:
    ended = tries[module, HELP]
    assert ended["code"] == 0, ended["err"]
    assert ended["out"].startswith("usage: ") and ended["err"] == ""


@pytest.mark.parametrize("module", MODULES)
def test_wrong_option_is_a_usage_error(tries: Any, module: str) -> None:
    ended = tries[module, WRONG]
    assert ended["code"] == 2 and ended["out"] == ""
    assert ended["err"].startswith("usage: ") and "error: " in ended["err"].splitlines()[-1]
    assert "Traceback" not in ended["err"]


@pytest.mark.parametrize("module", MODULES)
def test_closed_pipe_ends_it_quietly(tries: Any, module: str) -> None:
    ended = tries[module, CLOSED]
    assert (ended["code"], ended["err"]) == (141, "")


@pytest.mark.parametrize("module", MODULES)
def test_ctrl_c_ends_it_quietly(tries: Any, module: str) -> None:
    ended = tries[module, INTERRUPTED]
    assert (ended["code"], ended["err"]) == (130, "")


SUSPENDED = """
import time

print("suspended", flush=True)
try:
    time.sleep(300)
except KeyboardInterrupt:
    raise ImportError("what libraries in C make of it") from None
"""
"""An import that has not ended when Ctrl-C is pressed."""


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ui.demo"],
        ["-m", "parties"],
        ["server.py"],
        ["-m", "training.train"],
        ["-c", "import runpy; runpy.run_module('ui.demo', run_name='__mp_main__')"],
    ],
    ids=" ".join,
)
def test_real_process_ends_quietly_if_its_imports_are_interrupted(
    command: list[str], tmp_path: Path
) -> None:
    for library in ("numpy", "pydantic"):
        (tmp_path / f"{library}.py").write_text(SUSPENDED)
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "suspended\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
    assert process.returncode == 130


def test_entry_points_prepare_for_ctrl_c_before_other_imports() -> None:
    for module in set(MODULES) - {"verify"}:  # which stands alone, and imports one small library
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        found = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = [node.module if isinstance(node, ast.ImportFrom) else "" for node in found]
        assert next(name for name in names if name != "__future__") == "utils.command_line", module


def test_importing_a_command_leaves_ctrl_c_alone() -> None:
    code = "import signal, witness.command; print(signal.getsignal(signal.SIGINT).__name__)"
    shown = subprocess.run(
        ["env", "--default-signal=INT", sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout == "default_int_handler\n"


def test_every_option_and_command_has_a_help_text() -> None:
    """In all modules, since commands of commands have options too."""
    calls = 0
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0].startswith((".", "build")):
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr in ("add_argument", "add_parser"):
                calls += 1
                named = [word.arg for word in call.keywords]
                assert "help" in named, f"{path}:{call.lineno}"
    assert calls > 200


@pytest.mark.parametrize("module", ["app", "server", "ui.demo"])
def test_help_names_settings_with_their_defaults(tries: Any, module: str) -> None:
    text = tries[module, HELP]["out"]
    assert re.search(r"TRISEAL_\w+_PORT \(default: \d+\)", text)
    assert "docs/SETTINGS.md" in text and str(ROOT) not in text


def test_help_shows_defaults_and_no_folder_of_this_machine(tries: Any) -> None:
    text = tries["training.train", HELP]["out"]
    assert re.sub(r"\s+", " ", text).count("(default: ") >= 3
    for (module, kind), ended in tries.items():
        if kind == HELP:
            assert str(ROOT) not in ended["out"], module


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_scripts_have_a_help(name: str) -> None:
    path = ROOT / "scripts" / name
    shown = subprocess.run([path, "--help"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "") and len(shown.stdout.splitlines()) >= 2
    refused = subprocess.run([path, "--no-such-option"], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("usage: ")


def test_every_shell_script_is_known() -> None:
    scripts = (ROOT / "scripts").iterdir()
    assert {path.name for path in scripts if path.is_file() and not path.suffix} == set(SCRIPTS)


@pytest.mark.parametrize("command", [["verify.py"], ["-m", "ui.demo"]], ids=" ".join)
def test_real_process_ends_quietly_when_its_reader_is_gone(command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    # The parser itself ignores that its text cannot be written, if the output is not buffered.
    assert ended.returncode in (0, 141) and ended.stderr == b""


def test_help_keeps_paragraphs_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser(prog="x", description="One\nparagraph.\n\n    $ a  command\n\nAnother.")
    parser.add_argument("--share", default="50%", help="of 100%% of all")
    parser.add_argument("--none", help="without")
    parser.add_argument("--flag", action="store_true", help="off")
    parser.add_argument("--path", type=Path, default=Path.cwd() / "a b", help="a folder")
    parser.add_argument("--many", nargs="+", default=[1, 2], help="numbers")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert "One paragraph.\n\n    $ a  command\n\nAnother.\n" in shown
    for text in ("of 100% of all (default: 50%)", "a folder (default: a b)", "(default: 1 2)"):
        assert text in shown
    assert shown.count("default") == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["--man", "3"])
    assert "unrecognized arguments: --man" in capsys.readouterr().err
