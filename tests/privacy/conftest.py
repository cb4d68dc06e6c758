"""Fixtures: both halves of the levelled engine, a group of protocols, and a record to decide on."""

import numpy as np
import pytest

from tests.privacy.small import EngineHalves, random_bits, small_deployment
from tests.privacy.table import Table


@pytest.fixture(scope="session")
def halves(tmp_path_factory):
    """Both halves of the levelled engine for a small model, with the deployed parameters."""
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("small")))


@pytest.fixture
def bits(halves):
    return random_bits(halves.deployment.layout, np.random.default_rng(2), 1)[0]


@pytest.fixture
def table(halves):
    return Table(halves)
