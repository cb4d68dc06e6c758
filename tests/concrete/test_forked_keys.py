"""Keys that a process keeps, used in a child that it forks."""

from __future__ import annotations

import numpy as np
import pytest
from concrete import fhe

from engines.concrete.keys import PartyKeys
from engines.envelope import Header
from tests.forked import in_child


@pytest.fixture(scope="module")
def keys():
    @fhe.compiler({"x": "encrypted"})
    def program(x):
        return x + 3

    specs = program.compile(range(8)).client.specs
    made = PartyKeys(specs, Header(engine="concrete", model="m", kind="evaluation_key"))
    return made, made.make().secret


def sealed(keys):
    made, secret = keys
    return made.client(secret).encrypt(3).serialize()


def test_a_child_encrypts_with_other_randomness_than_its_parent(keys):
    """Under the same randomness, the difference of two ciphertexts would be that of the values."""
    sealed(keys)  # the kept client has been used, as it has in a server that preloads
    texts = [in_child(lambda: sealed(keys)) for _ in range(2)] + [sealed(keys)]
    for i, one in enumerate(texts):
        for other in texts[:i]:
            size = min(len(one), len(other))
            a, b = (np.frombuffer(text[:size], np.uint8) for text in (one, other))
            assert size > 1000 and (a != b).mean() > 0.9  # all of it, not an id somewhere
