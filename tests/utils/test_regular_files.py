"""Only a regular file is read, within its bound, and nothing else blocks or is followed."""

import os

import pytest

from utils.regular_files import read_regular


def test_file_is_read_up_to_the_bound(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o640)
    found, mode = read_regular(path, 4)
    assert found == b"cont" and mode & 0o777 == 0o640


def test_folder_pipe_and_link_are_not_read_and_no_descriptor_is_left(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert read_regular(tmp_path, 9) is None
    assert read_regular(tmp_path / "pipe", 9) is None
    assert read_regular(tmp_path / "link", 9, follow_link=False) is None
    assert read_regular(tmp_path / "link", 9)[0] == b"content"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 9)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
