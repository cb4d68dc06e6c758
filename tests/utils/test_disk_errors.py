"""A full disk is distinguished from other errors, and messages contain no paths or foreign text."""

import errno
import os

import pytest

from utils.disk_errors import cause_of, is_full, storage_fault
from utils.errors import DiskFull, StorageUnavailable


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_and_exhausted_quota_count_as_full(number):
    error = OSError(number, "words of a file system", "/secret/path")
    assert is_full(error)
    fault = storage_fault("The server cannot write", error)
    assert type(fault) is DiskFull
    assert os.strerror(number) in fault.message


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, None])
def test_other_errors_do_not_count_as_full(number):
    error = OSError() if number is None else OSError(number, "words", "/secret/path")
    assert not is_full(error)
    assert type(storage_fault("The server cannot write", error)) is StorageUnavailable


def test_cause_has_no_paths_or_foreign_text():
    assert cause_of(OSError(errno.EROFS, "key=secret", "/secret/path")) == os.strerror(errno.EROFS)
    assert cause_of(ValueError("key=secret")) == "ValueError"
