"""A process that has imported every entry point, and runs each in copies of itself.

`python -m tests.commands.trying MODULE…` writes a line of JSON for each try: how the command ended
and what it printed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from utils.collector import without_collections

HELP, WRONG, CLOSED, INTERRUPTED = "help", "wrong option", "closed pipe", "interrupted"
TRIES = (HELP, WRONG, CLOSED, INTERRUPTED)


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the command has started something")


def run(module: str, words: list[str], interrupted: bool) -> int:
    """Run a module as the interpreter does with `-m`; return its exit code."""
    sys.argv = [module, *words]
    socket.socket.listen = refuse  # type: ignore[method-assign]
    subprocess.Popen = refuse  # type: ignore[assignment,misc]
    if interrupted:

        def interrupt(*_: Any) -> Any:
            raise KeyboardInterrupt

        argparse.ArgumentParser.parse_args = interrupt  # type: ignore[method-assign]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code: Any = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.write(2, b"Exception ignored at the interpreter's end\n")
            code = 120
    return code if isinstance(code, int) else 1


def tried(module: str, kind: str) -> dict[str, Any]:
    """Run the module in a copy of this process; return how it ended."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        read, write = os.pipe()
        os.close(read)
        pid = os.fork()
        if pid == 0:
            os.dup2(write if kind == CLOSED else out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=False)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
            words = ["--no-such-option"] if kind == WRONG else ["--help"]
            code = run(module, words, kind == INTERRUPTED)
            os._exit(code)
        os.close(write)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {
        "module": module,
        "kind": kind,
        "code": code,
        "out": texts[0],
        "err": texts[1],
    }


def main(modules: list[str]) -> None:
    sys.path.insert(0, str(Path.cwd()))
    with without_collections():
        for module in modules:
            importlib.import_module(module)
    gc.freeze()  # a collection would copy the memory that a copy shares with this process
    for module in modules:
        for kind in TRIES:
            print(json.dumps(tried(module, kind)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
