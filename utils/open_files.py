"""How many files and connections the system lets this process have open."""

from __future__ import annotations

import resource

from utils.errors import LimitTooLow

LEAST_FILES = 256
"""A server with fewer runs out of them: workers, database, uploads and connections need them."""
WANTED_FILES = 1024


def require_open_files() -> None:
    """Raise the process's own limit to WANTED_FILES where it may; raises LimitTooLow.

    The limit of a shell or a service is often lower than what the system would allow.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_FILES:
        return
    most = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if most < LEAST_FILES:
        raise LimitTooLow(
            f"The system lets this process open {most} files, and the server needs at least "
            f"{LEAST_FILES}: raise the limit, for example with `ulimit -n {WANTED_FILES}`."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
