"""Renewal of state that a forked child must not share with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from engines.levelled.randomness import Expander
from settings import ROOT
from tests.forked import Child, in_child
from utils import forks
from utils.errors import DataFolderInUse
from utils.file_lock import hold_lock


def test_fresh_stream_differs_in_every_process():
    stream = Expander.fresh()
    stream.octets(100)
    children = [in_child(lambda: stream.octets(64).tobytes()) for _ in range(2)]
    grandchild = in_child(lambda: in_child(lambda: stream.octets(64).tobytes()))
    assert len({stream.octets(64).tobytes(), *children, grandchild}) == 4


def test_a_seeded_stream_continues_identically_after_a_fork():
    """As a control: without reseeding, a fork copies a stream's state."""
    stream = Expander(bytes(32))
    stream.octets(100)
    copied = in_child(lambda: stream.octets(64).tobytes())
    assert copied == stream.octets(64).tobytes()


def test_a_fresh_stream_in_a_child_differs_from_the_first_byte():
    stream = Expander.fresh()
    before = stream.octets(1 << 12)

    def drawn():
        return stream.ternary(64).tobytes(), stream.octets(1 << 12)

    (first, octets), (other, _) = in_child(drawn), in_child(drawn)
    assert first != other and not np.array_equal(octets, before)


class Counted:
    def __init__(self):
        self.renewed = 0

    def renew_after_fork(self):
        self.renewed += 1


def test_objects_are_renewed_in_children_and_not_kept_alive():
    owner, gone = Counted(), Counted()
    forks.renew_in_children(owner)
    forks.renew_in_children(gone)
    del gone
    assert in_child(lambda: (owner.renewed, forks.generation())) == (1, forks.generation() + 1)
    assert in_child(lambda: in_child(lambda: owner.renewed)) == 2
    assert owner.renewed == 0


def test_a_lock_stays_with_the_parent(tmp_path):
    path = tmp_path / "lock"

    def try_to_hold():
        with pytest.raises(DataFolderInUse):
            hold_lock(path, "in use")
        return lock.closed

    with hold_lock(path, "in use") as lock:
        assert in_child(try_to_hold)
        assert not lock.closed
        with pytest.raises(DataFolderInUse):  # the child's exit has not released it
            hold_lock(path, "in use")
    hold_lock(path, "in use").close()


HOLDER = """
import os, sys, time
from pathlib import Path
from utils.file_lock import hold_lock
lock = hold_lock(Path(sys.argv[1]), "in use")
child = os.fork()
if child == 0:
    os.close(0), os.close(1)
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
time.sleep(60)
"""


def test_lock_ends_with_its_holder_despite_a_living_child(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(DataFolderInUse):
            hold_lock(path, "in use")
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # the child is alive
        hold_lock(path, "in use", 5.0).close()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_lock_is_renewed_if_its_file_was_removed(tmp_path):
    path = tmp_path / "lock"
    first = hold_lock(path, "in use")
    path.unlink()
    second = hold_lock(path, "in use")  # locks the new file
    with pytest.raises(DataFolderInUse):
        hold_lock(path, "in use")
    first.close()
    with pytest.raises(DataFolderInUse):
        hold_lock(path, "in use")
    second.close()


def test_lock_waits_for_its_holder(tmp_path):
    path = tmp_path / "lock"
    read, write = os.pipe()

    def hold():
        lock = hold_lock(path, "in use")
        os.write(write, b".")
        os.read(go_read, 1)
        lock.close()

    go_read, go_write = os.pipe()
    child = Child(hold)
    os.read(read, 1)
    with pytest.raises(DataFolderInUse):
        hold_lock(path, "in use")
    os.write(go_write, b".")
    hold_lock(path, "in use", 30).close()
    child.result()
    for end in (read, write, go_read, go_write):
        os.close(end)
