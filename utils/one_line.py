"""One-line messages for errors that end a command and that its user can fix."""

from __future__ import annotations

from utils.errors import TrisealError
from utils.terminal import printable


def in_one_line(error: TrisealError | OSError) -> str:
    """Return the line to print for an error that ends a command.

    The line for an OSError names its path and the reason. An OSError without a path is raised
    again, since it is a bug.
    """
    if isinstance(error, TrisealError):
        return printable(" ".join(error.message.split()))
    if error.filename is None:
        raise error
    return printable(
        f"{error.filename} cannot be used ({error.strerror or type(error).__name__}): give this "
        "user access to it, or choose another path."
    )
