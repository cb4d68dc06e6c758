"""A PostgreSQL, a shared folder and a Ray cluster of two nodes, for a trial that has none at hand.

All on this machine, started as the tests start them, and ended with the trial.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from utils.errors import EngineUnavailable
from utils.scratch_folder import scratch_folder

Evaluators = Callable[[], list[int]]
"""Answers the ids of the processes that evaluate and are no children of a server."""


def add_cluster_option(parser: ArgumentParser) -> None:
    """The option for it."""
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="start a PostgreSQL and a Ray cluster of two nodes for the trial, and use them",
    )


_LOOKS = 20


@contextmanager
def cluster(options: Namespace) -> Iterator[Evaluators]:
    """Start one where the options ask for it, and write into them where it is.

    Raises EngineUnavailable where PostgreSQL or Ray is not installed.
    """
    if not options.cluster:
        yield list
        return
    try:
        from trials.postgres import Postgres, PostgresMissing
        from trials.ray_nodes import RAY, RayNodes
    except ImportError as error:
        raise EngineUnavailable(
            "The trial needs what the tests need: `make setup-test`."
        ) from error
    if not RAY.exists():
        raise EngineUnavailable("Ray is not installed: `make setup-cluster`.")
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
    """The actors; one that ends while it is looked for is looked for again."""
    for _ in range(_LOOKS):
        with suppress(psutil.NoSuchProcess):
            return look()
    return []
