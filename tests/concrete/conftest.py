"""Deployments compiled for Concrete and keys that all tests share, since each takes seconds."""

import pytest

import engines.concrete.circuit
import engines.concrete_ml.build
from engines.concrete.build import build
from engines.levelled.build import build as build_levelled
from tests.concrete.compiled import Compiled
from tests.concrete.deployments import Runs
from tests.conftest import write_small_deployment


@pytest.fixture(scope="session", autouse=True)
def few_sample_rows():
    """Compile with a smaller sample of rows, whose evaluation is most of the time of compiling.

    It still has every state of every column. The shipped deployment was compiled with all rows.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines.concrete.circuit, "_SAMPLE_ROWS", 40)
        patch.setattr(engines.concrete_ml.build, "_SAMPLE_ROWS", 40)
        yield


@pytest.fixture(scope="session")
def compiled(request, tmp_path_factory):
    """Return the deployments that are kept between runs, unless pytest's cache is disabled."""
    cache = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp("compiled") if cache is None else cache.mkdir("compiled")
    return Compiled(folder)


@pytest.fixture(scope="session")
def both_deployment(compiled, layout, small_booster, small_programs, small_programs_of):
    """Return a deployment for Concrete and for the levelled engine."""

    def write(folder):
        engines = {
            "levelled": build_levelled(small_programs_of, layout, folder, opens="score"),
            "concrete": build(small_programs, layout, folder),
        }
        write_small_deployment(folder, layout.schema, small_booster, small_programs, engines)
        return folder

    return compiled.deployment("both", write)


@pytest.fixture(scope="session")
def runs(both_deployment, layout):
    return Runs(both_deployment, layout)
