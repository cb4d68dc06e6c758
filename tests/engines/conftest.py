"""One compiled Concrete deployment for all tests of the engine: compiling takes seconds."""

import pytest

from tests.engines.concrete_deployments import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory, layout, small_programs):
    return Runs.built(tmp_path_factory.mktemp("concrete"), layout, small_programs)
