"""`make` installs an environment once, and again only when its list of packages changes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Stand for Python and uv, so that nothing is fetched: one copies itself as an environment's
# interpreter, the other notes the installation.
PYTHON = """#!/bin/sh
case "$*" in
    "-c "*) exit 0 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *) exit 1 ;;
esac
"""
UV = '#!/bin/sh\necho "$*" >>installed\n'


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "tests" / "ui").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, text in (("python", PYTHON), ("uv", UV)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return folder


def run(folder, target, python=PYTHON):
    """Run make with an interpreter for new environments."""
    tools = folder.parent / "bin"
    (tools / "python").write_text(python)
    return subprocess.run(
        ["make", target, f"PYTHON={tools / 'python'}"],
        cwd=folder,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def installations(folder, target="setup"):
    """Run make and return the lists that it installed."""
    (folder / "installed").write_text("")
    ended = run(folder, target)
    assert ended.returncode == 0, ended.stderr
    lines = (folder / "installed").read_text().splitlines()
    assert all("--require-hashes" in line for line in lines)
    return [line.rpartition("/")[2] for line in lines]


def test_an_environment_is_installed_once(clone):
    assert installations(clone) == ["core.txt"]
    assert installations(clone) == []


def test_each_target_installs_what_it_needs(clone):
    assert installations(clone, "setup-tests") == ["test.txt"]
    assert installations(clone, "setup-concrete") == ["concrete.txt"]
    assert installations(clone, "setup-flower") == ["flower.txt"]
    assert (clone / ".venv-flower").is_dir()
    assert (clone / ".venv").is_dir() and (clone / ".venv-concrete").is_dir()


def test_a_copied_environment_in_a_fresh_clone_is_not_installed_again(clone, tmp_path):
    """All files of the clone are newer than the environment."""
    installations(clone)
    for path in clone.glob(".venv/.installed*"):
        os.utime(path, (0, 0))
    fresh = tmp_path / "fresh"
    for folder in ("scripts", "requirements", ".venv"):
        shutil.copytree(clone / folder, fresh / folder)
    shutil.copy(clone / "Makefile", fresh)
    assert installations(fresh) == []


def test_environment_of_a_changed_list_is_installed_again(clone):
    """The times of the files do not matter."""
    installations(clone)
    path = clone / "requirements" / "core.txt"
    with path.open("a") as file:
        file.write("# changed\n")
    os.utime(path, (0, 0))
    assert installations(clone) == ["core.txt"]


@pytest.mark.parametrize(
    "failing", ["nothing", "mypy", "tests/ui", "tests/concrete", "tests/flower"]
)
def test_tests_fail_with_any_of_their_parts(clone, failing):
    """The environments' interpreter stands for the checkers and for pytest."""
    for name in ("install_chromium", "install_axe", "install_postgresql", "install_nginx"):
        (clone / "scripts" / name).write_text("#!/bin/sh\n")
    python = PYTHON.replace("exit 1", f"echo $*; case $* in *{failing}*) exit 1 ;; esac")
    ended = run(clone, "test", python)
    assert (ended.returncode == 0) is (failing == "nothing"), ended.stdout
    assert "-m mypy ." in ended.stdout and "tests/ui" in ended.stdout


def test_help_lists_every_target_in_a_line(clone):
    """All but those that are only parts of another; nothing is installed by it."""
    ended = run(clone, "help")
    assert ended.returncode == 0 and not (clone / ".venv").exists()
    listed = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    parts = {"core-tests", "other-tests", "concrete-tests", "flower-tests"}
    assert set(listed) == targets - parts
    assert next(iter(listed)) == "demo" and all(len(text) > 10 for text in listed.values())


def test_missing_python_creates_nothing_and_prints_advice(clone):
    tools = clone.parent / "bin"
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    for version in (11, 12, 13, 14):
        shutil.copy(tools / "python3", tools / f"python3.{version}")
    ended = subprocess.run(
        ["make", "setup"],
        cwd=clone,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "Python 3.11 to 3.14 is needed" in ended.stderr
    assert not (clone / ".venv").exists()
