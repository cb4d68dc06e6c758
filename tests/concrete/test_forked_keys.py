"""Cached keys of a process, used in a forked child."""

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


def test_child_encrypts_with_fresh_randomness(keys):
    """With the same randomness, two ciphertexts would differ by the difference of the values."""
    sealed(keys)  # the cached client has been used, as in a server that preloads
    texts = [in_child(lambda: sealed(keys)) for _ in range(2)] + [sealed(keys)]
    for i, one in enumerate(texts):
        for other in texts[:i]:
            size = min(len(one), len(other))
            a, b = (np.frombuffer(text[:size], np.uint8) for text in (one, other))
            assert size > 1000 and (a != b).mean() > 0.9  # nearly all bytes, not just an id
