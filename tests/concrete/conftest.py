"""Deployments compiled for Concrete once for all tests, since compilation takes seconds."""

import fcntl
import os
from contextlib import contextmanager

import pytest

from engines.concrete.build import build
from engines.levelled.build import build as build_levelled
from tests.concrete.deployments import Runs
from tests.conftest import write_small_deployment


@contextmanager
def shared_folder(tmp_path_factory, name):
    """Yield a folder of all processes of this run, and whether it still has to be filled.

    One process at a time is in the context; an exception in it leaves the folder to be filled.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = base / f"{name}.done"
        folder.mkdir(exist_ok=True)
        yield folder, not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def both_deployment(tmp_path_factory, layout, small_booster, small_programs, small_programs_of):
    """Return a deployment for Concrete and for the levelled engine.

    It is compiled by the first of the run's processes that needs it.
    """
    with shared_folder(tmp_path_factory, "both") as (folder, first):
        if first:
            engines = {
                "levelled": build_levelled(small_programs_of, layout, folder, opens="score"),
                "concrete": build(small_programs, layout, folder),
            }
            write_small_deployment(folder, layout.schema, small_booster, small_programs, engines)
    return folder


@pytest.fixture(scope="session")
def runs(both_deployment, layout):
    return Runs(both_deployment, layout)
