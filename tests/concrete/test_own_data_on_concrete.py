"""The user's own data, with two parties, trained, compiled and decided on Concrete."""

import pytest

from engines.interface import DECIDE, EXPLAIN
from model.explanation import Outcome
from model.polynomial import sample_states
from tests.parties.running import started
from tests.training.test_own_data import (
    HOME_EQUITY,
    Oracle,
    home_equity_rows,
    in_this_process,
    train_and_compile,
    whole_application,
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


@pytest.fixture(scope="module")
def concrete_connection(two_parties, tmp_path_factory):
    server = started(tmp_path_factory.mktemp("server"), two_parties, "concrete")
    made = server.connect(tmp_path_factory.mktemp("parties"))
    yield made
    made.client.close()
    server.stop()


def test_own_data_of_two_parties_decides_and_explains_with_concrete(
    two_parties, concrete_connection
):
    oracle = Oracle(two_parties)
    record = oracle.find(Outcome.TURNED) | {"DEBTINC": None}
    sent, decision, explanation = whole_application(concrete_connection, oracle, record)
    assert [s.party for s in sent] == ["borrower", "bureau"]
    assert decision.score == oracle.score(record)
    assert explanation == oracle.explanation(record)
    assert explanation.bins == (
        *("0 to under 60", "60 to under 120", "120 to under 180", "180 to under 240"),
        "240 and more",
    )


def test_scores_of_many_records_are_exact_under_encryption(two_parties):
    """This data is nearly additive, so its model may need no table lookup at all.

    The last two records differ only in optional columns, and so do their scores.
    """
    runs, oracle = EncryptedRuns("concrete", two_parties), Oracle(two_parties)
    layout = runs.deployment.layout
    missing = oracle.default() | {"DEBTINC": None, "REASON": None}
    given = oracle.default() | {"DEBTINC": 10.0, "REASON": "HomeImp"}
    assert oracle.score(missing) != oracle.score(given)
    wrong = []
    sampled = layout.bits_of_states(sample_states(layout, 4, seed=3))
    for bits in [*sampled, layout.encode(missing), layout.encode(given)]:
        for program, run in ((DECIDE, runs.decide), (EXPLAIN, runs.explain)):
            opened, expected = run(bits).scores, runs.expected(program, bits)
            wrong += [(program, opened, expected)] if opened != expected else []
    assert wrong == []
