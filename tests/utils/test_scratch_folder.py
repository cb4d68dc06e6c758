"""Temporary folders are removed on exit or at the next start, never while they are in use."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from utils.marked_folder import MARK, mark_folder
from utils.scratch_folder import PURPOSE, scratch_folder

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys, time
from pathlib import Path
from utils.scratch_folder import scratch_folder
with scratch_folder(".work-", Path(sys.argv[1])) as folder:
    (folder / "inside").mkdir()
    (folder / "inside" / "file").write_text("x")
    print(folder.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def at_work(tmp_path):
    """Start a process that uses a folder in tmp_path; return the process and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    yield process, tmp_path / process.stdout.readline().strip()
    process.kill()
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_a_folder_is_private_and_removed_on_exit(tmp_path, error):
    try:
        with scratch_folder(".work-", tmp_path) as folder:
            (folder / "inside").mkdir()
            (folder / "link").symlink_to(tmp_path)
            assert folder.parent == tmp_path and folder.name.startswith(".work-")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert names(tmp_path) == []


def test_without_a_parent_it_is_in_the_systems_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder("triseal-") as folder:
        assert folder.parent == tmp_path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_folder_of_a_killed_process_is_removed_at_the_next_start(tmp_path, at_work, number):
    process, folder = at_work
    process.send_signal(number)
    process.wait()
    assert (folder / "inside" / "file").exists()
    with scratch_folder(".work-", tmp_path) as own:
        assert names(tmp_path) == [own.name]


def test_the_folder_of_a_running_process_stays(tmp_path, at_work):
    _, folder = at_work
    with scratch_folder(".work-", tmp_path):
        pass
    assert names(tmp_path) == [folder.name]
    assert (folder / "inside" / "file").read_text() == "x"


def test_an_interrupted_removal_is_resumed(tmp_path, at_work):
    process, folder = at_work
    process.kill()
    process.wait()
    (folder / ".lock").unlink()
    with scratch_folder(".work-", tmp_path) as own:
        assert names(tmp_path) == [own.name]


def test_folders_without_the_mark_or_of_another_prefix_stay(tmp_path):
    (tmp_path / ".work-mine").mkdir()
    (tmp_path / ".work-mine" / "file").write_text("mine")
    (tmp_path / ".work-file").write_text("mine")
    (tmp_path / "other").mkdir()
    mark_folder(tmp_path / "other", PURPOSE)
    (tmp_path / ".work-link").symlink_to(tmp_path / "other")
    before = names(tmp_path)
    with scratch_folder(".work-", tmp_path):
        pass
    assert names(tmp_path) == before
    assert names(tmp_path / ".work-mine") == ["file"]
    assert names(tmp_path / "other") == [MARK]


def test_rescue_is_called_before_the_removal(tmp_path, at_work):
    process, _ = at_work
    process.kill()
    process.wait()

    def rescue(left):
        (left / "inside").rename(tmp_path / "rescued")

    with scratch_folder(".work-", tmp_path, rescue):
        assert (tmp_path / "rescued" / "file").exists()
    assert names(tmp_path) == ["rescued"]
