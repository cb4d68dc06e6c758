"""A process that has imported the libraries of others, and becomes one of them in each copy.

`python -m tests.preloaded_process FOLDER MODULE…` imports the modules and reads requests from its
standard input, a socket, until that closes. A request is a line of JSON, with two or three
descriptors: the new process's log, a pipe for its process id and its wait status, and its standard
input, unless the request has that as text. The workers that a copied server starts by
multiprocessing are copies too; their sockets are in the folder.
"""

from __future__ import annotations

import gc
import json
import multiprocessing.context
import multiprocessing.util
import os
import runpy
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from utils.collector import without_collections

NUMBER = struct.Struct("=i")
LONGEST_REQUEST = 1 << 20  # bytes; environments are much smaller
WITH_WORKERS = ("server.py", "trials.joint_stand_in", "trials.stand_in_server")
"""The scripts and modules that start workers."""
WORKER = "multiprocessing.spawn import spawn_main"
"""Words of the command of a worker that is not a copy."""


def main(folder: str, modules: list[str]) -> None:
    # A server that a signal ends would leave its own folder.
    multiprocessing.current_process()._config["tempdir"] = folder  # type: ignore[attr-defined]
    with without_collections():
        for module in modules:
            import_module(module)
        if "service.storage.storage" in modules:
            _upgrade_a_database()
    gc.freeze()  # a collection would write to every object, and so copy the memory that is shared
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            text, descriptors, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 3)
            if not text:
                return
            if os.fork() == 0:
                requests.close()
                break
            for descriptor in descriptors:
                os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _begin(json.loads(text), *descriptors)


def _upgrade_a_database() -> None:
    """Have the copies repeat the statements that make the tables of an SQLite database."""
    from service.storage import database
    from tests.replayed_upgrade import ReplayedUpgrade

    database._upgrade = ReplayedUpgrade(database._upgrade)
    with TemporaryDirectory() as folder:
        made = database.Database(f"sqlite:///{folder}/database")
        made.prepare()
        made.probe()  # SQLAlchemy prepares itself with the first session
        made.close()


def _reap(_number: int, _frame: Any) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _begin(request: dict[str, Any], log: int, told: int, given: int | None = None) -> None:
    """Wait for a process of its own, and report its status; in that process, become the command."""
    pid = os.fork()
    if pid:
        os.close(log)
        if given is not None:
            os.close(given)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            os.write(told, NUMBER.pack(status))
        os._exit(0)
    from setproctitle import setproctitle  # only here, since tests of Concrete read this module

    words = request["words"]
    setproctitle(" ".join([sys.executable, *words]))
    os.setsid()
    os.write(told, NUMBER.pack(os.getpid()))  # now it can be found by its words
    os.close(told)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if given is None:
        _read_from(request["stdin"].encode())
    else:
        os.dup2(given, 0)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["environment"])
    if set(words) & set(WITH_WORKERS):
        _copy_workers()
    _become(words)


def _read_from(given: bytes) -> None:
    """Make these bytes, at most a pipe's content, the standard input."""
    read, write = os.pipe()
    os.write(write, given)
    os.close(write)
    os.dup2(read, 0)
    os.close(read)


def _copy_workers() -> None:
    """Have multiprocessing make copies where it is asked for new interpreters (`spawn`).

    Its fork server is started now, because this process will have threads later. If that is killed,
    the next one is a new interpreter.
    """
    contexts = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    contexts["spawn"] = contexts["forkserver"]
    forkserver.set_forkserver_preload([])
    with patch.object(multiprocessing.util, "spawnv_passfds", _copied):
        forkserver.ensure_running()


def _copied(python: str, arguments: Sequence[str], passed: Sequence[int]) -> int:
    """Run multiprocessing's own command, the last argument, in a copy; return its process id."""
    from setproctitle import setproctitle

    pid = os.fork()
    if pid:
        return pid
    try:
        setproctitle(" ".join(map(os.fsdecode, arguments)))
        title = f"{os.fsdecode(python)} -c from {WORKER}"
        os.register_at_fork(after_in_child=lambda: setproctitle(title))
        kept = {0, 1, 2, *passed}
        for descriptor in Path("/proc/self/fd").iterdir():
            if int(descriptor.name) not in kept:
                with suppress(OSError):  # the folder's own, which is closed already
                    os.close(int(descriptor.name))
        exec(os.fsdecode(arguments[-1]), {})  # noqa: S102
    finally:
        os._exit(0)


def _become(words: list[str]) -> None:
    """Run a script or, after `-m`, a module, as the interpreter does with its command line."""
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
