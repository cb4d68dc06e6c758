"""Command lines: the parser of every command, and how a command ends.

Every entry point parses its words with a CommandParser before it does anything, so that `--help`
shows its options with their defaults and starts nothing, and ends by `run_command`, which turns a
closed pipe or Ctrl-C into an exit code.

Every module imports this one before all others (pyproject.toml has the order): from then on, Ctrl-C
ends a command at once with the same exit code, also while it imports the others.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from utils.terminal import print_any_text

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the signal's number."""
PIPE_CLOSED = 141
"""Exit code after the reader of the output has gone, likewise."""


def _is_imported_by_program() -> bool:
    """Return True if the file that was started imports this one, not another module or a prompt.

    Processes of multiprocessing import that file too, by the name `__mp_main__`.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        importer = frame.f_globals
        if importer["__name__"] != __name__ and "importlib" not in importer["__name__"]:
            started = importer["__name__"] in ("__main__", "__mp_main__")
            return started and "__file__" in importer
        frame = frame.f_back
    return False


def end_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Handle a signal, before `run_command`, by ending the process."""
    os._exit(INTERRUPTED)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler and _is_imported_by_program():
    # No KeyboardInterrupt: libraries in C turn one during their imports into their own errors.
    signal.signal(signal.SIGINT, end_at_once)


class HelpFormatter(argparse.HelpFormatter):
    """Shows defaults, and keeps the paragraphs and the indented lines of a description."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        optional = bool(action.option_strings) or action.nargs in ("?", "*")
        none = action.default in (None, argparse.SUPPRESS, "", "{}") or action.default in ((), [])
        if not optional or none or isinstance(action.default, bool) or "default" in text:
            return text
        return f"{text} (default: {_shown(action.default)})".lstrip()

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = textwrap.dedent(text).strip("\n").split("\n\n")
        return "\n\n".join(
            textwrap.indent(part, indent)
            if any(line.startswith(" ") for line in part.splitlines())
            else textwrap.fill(part, width, initial_indent=indent, subsequent_indent=indent)
            for part in parts
        )


def _shown(default: Any) -> str:
    if isinstance(default, (list, tuple)):
        shown = " ".join(_shown(each) for each in default)
    elif isinstance(default, Path) and default.is_relative_to(Path.cwd()):
        shown = str(default.relative_to(Path.cwd()))
    else:
        shown = str(default)
    return shown.replace("%", "%%")


class CommandParser(argparse.ArgumentParser):
    """A parser whose help shows defaults, and which accepts no abbreviated options."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, "allow_abbrev": False, **facts})


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with the code that it returns; None means 0.

    If the reader of the output has gone, as after `| head -1`, nothing more is printed. From here
    on, Ctrl-C raises KeyboardInterrupt, so that `main` can clean up.
    """
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    print_any_text()
    try:
        try:
            code = main() or 0
        finally:  # also after the parser's own exit
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        code = PIPE_CLOSED
        _discard_output()
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _discard_output() -> None:
    """Make the interpreter's last flush succeed."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a replaced or closed stream
            os.dup2(null, stream.fileno())
    os.close(null)
