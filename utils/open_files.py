"""The system's limit on open files and connections of this process."""

from __future__ import annotations

import resource

from utils.errors import LimitTooLow

LEAST_FILES = 256
"""The minimum for a server, whose workers, database, uploads and connections all use files."""
WANTED_FILES = 1024


def require_open_files() -> None:
    """Raise the process's soft limit to WANTED_FILES, or as far as possible; raises LimitTooLow.

    The soft limit of a shell or a service is often lower than the hard limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_FILES:
        return
    most = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if most < LEAST_FILES:
        raise LimitTooLow(
            f"The system lets this process open {most} files, but the server needs at least "
            f"{LEAST_FILES}: raise the limit, for example with `ulimit -n {WANTED_FILES}`."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
