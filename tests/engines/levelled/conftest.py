"""A collective key shared by all tests that do not need a fresh one."""

import pytest

from tests.engines.levelled.joint_keys import joint_keys


@pytest.fixture(scope="session")
def joint():
    return joint_keys()
