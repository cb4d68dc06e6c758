"""A PostgreSQL server, a shared folder and a Ray cluster of two nodes for a trial.

All run on this machine, are started as in the tests, and end with the trial.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from utils.errors import EngineUnavailable
from utils.scratch_folder import scratch_folder

Evaluators = Callable[[], list[int]]
"""Returns the ids of the evaluating processes that are not children of a server."""


def add_cluster_option(parser: ArgumentParser) -> None:
    """Add the option `--cluster`."""
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="start a PostgreSQL and a Ray cluster of two nodes for the trial, and use them",
    )


_LOOKS = 20


@contextmanager
def cluster(options: Namespace) -> Iterator[Evaluators]:
    """Start a cluster if the options request one, and store its addresses in the options.

    Raises EngineUnavailable if PostgreSQL or Ray is not installed.
    """
    if not options.cluster:
        yield list
        return
    try:
        from trials.postgres import Postgres, PostgresMissing
        from trials.ray_nodes import RAY, RayNodes
    except ImportError as error:
        raise EngineUnavailable(
            "The trial needs the packages of the tests: run `make setup-tests`."
        ) from error
    if not RAY.exists():
        raise EngineUnavailable("Ray is not installed: run `make setup-cluster`.")
    with ExitStack() as stack:
        try:
            postgres = Postgres()
        except PostgresMissing as missing:
            raise EngineUnavailable(str(missing)) from missing
        stack.callback(postgres.end)
        options.database = postgres.new_database()
        folder = stack.enter_context(scratch_folder("triseal-blobs-"))
        options.blobs = options.blobs or (folder / "blobs").as_uri()
        nodes = stack.enter_context(RayNodes())
        options.executor, options.ray_address = "ray", nodes.address
        yield lambda: _actors(nodes.actors)


def _actors(look: Evaluators) -> list[int]:
    """Return the actors, retrying if one ends during the search."""
    for _ in range(_LOOKS):
        with suppress(psutil.NoSuchProcess):
            return look()
    return []
