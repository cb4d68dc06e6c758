"""Deployments compiled for Concrete once for all tests, since compilation takes seconds."""

import pytest

from engines.concrete.build import build
from engines.levelled.build import build as build_levelled
from tests.concrete.deployments import Runs
from tests.conftest import write_small_deployment


@pytest.fixture(scope="session")
def both_deployment(tmp_path_factory, layout, small_booster, small_programs, small_programs_of):
    """Return a deployment for Concrete and for the levelled engine."""
    folder = tmp_path_factory.mktemp("both")
    engines = {
        "levelled": build_levelled(small_programs_of, layout, folder, opens="score"),
        "concrete": build(small_programs, layout, folder),
    }
    write_small_deployment(folder, layout.schema, small_booster, small_programs, engines)
    return folder


@pytest.fixture(scope="session")
def runs(both_deployment, layout):
    return Runs(both_deployment, layout)
