"""A collective key shared by all tests that do not need a fresh one."""

import pytest

from tests.engines.levelled.joint_keys import JointKeys


@pytest.fixture(scope="session")
def joint():
    return JointKeys.make()
