"""Deployments for Concrete whose programs open approved or denied and nothing else."""

import numpy as np
import pytest

from engines.concrete.build import build
from engines.interface import DECIDE
from model.explanation import Outcome
from model.polynomial import sample_states
from parties.single_key.session import ApplicationSession
from tests.concrete.deployments import Runs
from tests.conftest import write_small_deployment
from tests.parties.running import Oracle, started


@pytest.fixture(scope="module")
def sign_only_deployment(compiled, layout, small_booster, small_programs):
    """Return a deployment for Concrete whose programs open approved or denied and nothing else."""

    def write(folder):
        facts = build(small_programs, layout, folder, sign_only=True)
        write_small_deployment(
            folder, layout.schema, small_booster, small_programs, {"concrete": facts}
        )
        return folder

    return compiled.deployment("sign_only", write)


def signs(scores):
    return tuple(0 if score >= 0 else -1 for score in scores)


def test_sign_only_is_correct_over_the_whole_score_range(
    sign_only_deployment, layout, small_programs, credit_data
):
    runs = Runs(sign_only_deployment, layout)
    program = small_programs[DECIDE]
    sample = layout.bits_of_states(sample_states(layout, 5000, seed=3))
    extreme = layout.bits_of_states(program.extreme_rows)
    rows = np.concatenate([extreme, credit_data[0][0], sample])
    scores = program.scores(rows)[:, 0]
    by_score = dict(zip(scores.tolist(), rows, strict=True))
    wanted = {program.low, program.high, -1, 0}
    for score in sorted(wanted):
        sent = runs.messages(by_score[score])
        assert runs.opened(DECIDE, sent) == signs([score]), f"wrong sign of {score}"
    assert runs.server.facts.opened.startswith("Only approved or denied")
    assert {f.score_bits for f in runs.server.public.programs.values()} == {1}


def test_sign_only_deployment_opens_only_the_decision(sign_only_deployment, tmp_path):
    oracle = Oracle(sign_only_deployment)
    server = started(tmp_path, sign_only_deployment, "concrete")
    connection = server.connect(tmp_path / "parties")
    try:
        assert "no score" in connection.public.engine.opened
        session = ApplicationSession.open(connection)
        session.make_keys()
        outcome = Outcome.TURNED
        record = oracle.find(outcome)
        for name in oracle.schema.party_names:
            session.send(name, oracle.of(name, record))
        session.run()
        decision = session.open_decision()
        assert decision.score is None and decision.log_odds is None
        assert not decision.approved
        scores, _ = session.membership.open_result(DECIDE, "applicant")
        assert scores[0] == -1
        explained, expected = session.explain().explanation, oracle.explanation(record)
        assert (explained.outcome, explained.text) == (outcome, expected.text)
        assert explained.turning_bin == expected.turning_bin
        assert explained.scores == signs(expected.scores)
    finally:
        connection.client.close()
        server.stop()
