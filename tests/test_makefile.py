"""`make` installs an environment once, and again only when its lists of packages change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LISTS = [*sorted(ROOT.glob("requirements*.txt")), ROOT / "constraints.txt"]
# Stands for Python, so that nothing is fetched: it copies itself and notes what it is to install.
STAND_IN = """#!/bin/sh
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install"*) echo "$*" >>installed ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    for path in [ROOT / "Makefile", *LISTS]:
        shutil.copy(path, folder)
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    return folder


def installations(folder, target="setup"):
    """Run make and return how many installations it did."""
    (folder / "installed").write_text("")
    subprocess.run(
        ["make", target, f"PYTHON={folder.parent / 'python'}"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return len((folder / "installed").read_text().splitlines())


def test_an_environment_is_installed_once(clone):
    assert installations(clone) == 1
    assert installations(clone) == 0


def test_a_copied_environment_in_a_fresh_clone_is_not_installed_again(clone, tmp_path):
    """All files of the clone are newer than the environment."""
    installations(clone)
    for path in clone.glob(".venv/.installed*"):
        os.utime(path, (0, 0))
    (tmp_path / "fresh").mkdir()
    for path in clone.glob("*.*"):
        if path.is_file():
            shutil.copyfile(path, tmp_path / "fresh" / path.name)
    shutil.copy(clone / "Makefile", tmp_path / "fresh")
    shutil.copytree(clone / ".venv", tmp_path / "fresh" / ".venv")
    assert installations(tmp_path / "fresh") == 0


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_an_environment_of_other_lists_is_installed_again(clone, name):
    """Whatever the times of the files say."""
    installations(clone)
    with (clone / name).open("a") as file:
        file.write("# changed\n")
    os.utime(clone / name, (0, 0))
    assert installations(clone) == 1
