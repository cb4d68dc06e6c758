"""The user's own data, with two parties, trained, compiled and decided on Concrete.

Applications over HTTP are in test_application_with_concrete.py, and those with own data in
tests/training/test_own_data.py.
"""

import pytest

from engines.interface import DECIDE, EXPLAIN
from model.explanation import Outcome
from model.polynomial import sample_states
from tests.training.test_own_data import (
    HOME_EQUITY,
    Oracle,
    home_equity_rows,
    in_this_process,
    train_and_compile,
)
from training.encrypted_runs import EncryptedRuns


@pytest.fixture(scope="module")
def two_parties(compiled):
    """Return the folder of the deployment."""

    def write(folder):
        rows = home_equity_rows()
        engines = ["concrete"]
        return train_and_compile(folder, HOME_EQUITY, rows, "BAD", engines, in_this_process)[0]

    return compiled.deployment("home_equity", write)


def test_scores_of_many_records_are_exact_under_encryption(two_parties):
    """This data is nearly additive, so its model may need no table lookup at all.

    Two records differ only in optional columns, and so do their scores; a longer value of the
    explained column would turn the last, a denied one.
    """
    runs, oracle = EncryptedRuns("concrete", two_parties), Oracle(two_parties)
    layout = runs.deployment.layout
    missing = oracle.default() | {"DEBTINC": None, "REASON": None}
    given = oracle.default() | {"DEBTINC": 10.0, "REASON": "HomeImp"}
    assert oracle.score(missing) != oracle.score(given)
    turned = oracle.find(Outcome.TURNED)
    wrong = []
    sampled = layout.bits_of_states(sample_states(layout, 3, seed=3))
    for bits in [*sampled, *map(layout.encode, (missing, given, turned))]:
        for program, run in ((DECIDE, runs.decide), (EXPLAIN, runs.explain)):
            opened, expected = run(bits).scores, runs.expected(program, bits)
            wrong += [(program, opened, expected)] if opened != expected else []
    assert wrong == []
