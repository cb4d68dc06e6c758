"""Deployments compiled for Concrete once for all tests, since compilation takes seconds."""

import pytest

from engines.concrete.build import build
from tests.concrete.deployments import Runs
from tests.conftest import write_small_deployment


@pytest.fixture(scope="session")
def runs(tmp_path_factory, layout, small_programs):
    return Runs.built(tmp_path_factory.mktemp("concrete"), layout, small_programs)


@pytest.fixture(scope="session")
def sign_only_deployment(tmp_path_factory, layout, small_booster, small_programs):
    """Return a deployment for Concrete whose programs open approved or denied and nothing else."""
    folder = tmp_path_factory.mktemp("sign_only")
    facts = build(small_programs, layout, folder, sign_only=True)
    write_small_deployment(
        folder, layout.schema, small_booster, small_programs, {"concrete": facts}
    )
    return folder
