"""Signs with real encryption: three protocols, two runs, and nothing but signs in any state."""

from __future__ import annotations

import numpy as np
import pytest

from engines.interface import DECIDE, EXPLAIN, MASKED_OF, MASKS_OF, SIGN_OF
from tests.privacy.small import PARTIES, EngineHalves, random_bits, small_deployment
from tests.privacy.table import Table


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("signs"), opens="sign"))


def opened(halves, bits, programs=(DECIDE, EXPLAIN)):
    """Return the signs by program that every party opens, and the uploads."""
    table = Table(halves).keys()
    uploads, found = table.sent(bits), {}
    for program in programs:
        table.agree(program, uploads)
        first = halves.server.evaluate(program, uploads)
        table.open(program, first)
        (masked,) = {table[name].masked_scores(program, first) for name in PARTIES}
        uploads[PARTIES[0], MASKED_OF[program]] = masked
        second = halves.server.evaluate(SIGN_OF[program], uploads)
        table.open(SIGN_OF[program], second)
        (found[program],) = {table[name].scores(SIGN_OF[program], second) for name in PARTIES}
    return found, uploads


def test_signs_equal_the_reference(halves):
    draw = np.random.default_rng(5)
    rows = random_bits(halves.deployment.layout, draw, 6)
    for row in rows:
        found, _ = opened(halves, row)
        for program, signs in found.items():
            expected = np.where(halves.scores(program, row) >= 0, 0.0, -1.0)
            assert signs == tuple(expected)


def test_masks_of_two_applications_differ(halves):
    bits = random_bits(halves.deployment.layout, np.random.default_rng(6), 1)[0]
    sent = [opened(halves, bits, (DECIDE,))[1] for _ in range(2)]
    for name in (MASKS_OF[DECIDE], MASKED_OF[DECIDE]):
        assert sent[0][PARTIES[0], name] != sent[1][PARTIES[0], name]
