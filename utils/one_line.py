"""How a command ends on an error that a person can mend: with one line, and no traceback."""

from __future__ import annotations

from utils.errors import TrisealError


def in_one_line(error: TrisealError | OSError) -> str:
    """Return what to print for an error that ends a command.

    An OSError about a path is named with the path and the reason. Any other is raised again: it is
    a fault of ours.
    """
    if isinstance(error, TrisealError):
        return " ".join(error.message.split())
    if error.filename is None:
        raise error
    return (
        f"{error.filename} cannot be used ({error.strerror or type(error).__name__}): give this "
        "user the right to it, or name another place."
    )
