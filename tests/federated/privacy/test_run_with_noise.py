"""A whole run with noise: its trees fit the plan, and little noise changes the model little."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from federated.boosting import scores
from federated.boosting.scores import BINS
from federated.plan import Plan
from federated.privacy.noise import noise, score_parts
from federated.privacy.parameters import Privacy
from training.measure.privacy_curve import rows_of, train
from training.synthetic import draw


@pytest.fixture(scope="module")
def data(schema):
    plan = Plan(schema=schema)
    return rows_of(plan, draw(6000, 3)), rows_of(plan, draw(4000, 4))


def plan_of(schema, multiplier, **more):
    privacy = Privacy(noise_multiplier=multiplier, delta=1e-5)
    return Plan(schema=schema, depth=3, privacy=privacy, **more)


def auc(plan, data):
    (states, outcomes), (others, answers) = data
    return roc_auc_score(answers, train(plan, states, outcomes, 5).margins(others))


def test_little_noise_leaves_the_model_and_much_takes_it_away(schema, data):
    without = auc(Plan(schema=schema, trees=8), data)
    little = auc(plan_of(schema, 0.2, trees=8, min_child_weight=5), data)
    much = auc(plan_of(schema, 5000, trees=8), data)
    assert without > 0.75
    assert little == pytest.approx(without, abs=0.01)
    assert abs(much - 0.5) < 0.15 and much < little - 0.1


def test_trees_grown_on_noise_fit_the_plan(schema, data):
    (states, outcomes), _ = data
    plan = plan_of(schema, 300, trees=10, min_child_weight=0, least_rows=1)
    trees = train(plan, states, outcomes, 5).trees
    assert len(trees) == 10 and max(tree.depth for tree in trees) == 3


def test_noisy_auc_is_unbiased(schema):
    """Counts cut off at 0 would add rows to every bin, as the control shows."""
    plan = plan_of(schema, 60, trees=1)
    rng = np.random.default_rng(5)
    bins = np.arange(BINS)
    denied = rng.poisson(1500 * np.exp(-((bins - 60) ** 2) / 50))
    approved = rng.poisson(1500 * np.exp(-((bins - 66) ** 2) / 50))
    counts = np.concatenate([denied, approved])
    parts = score_parts(plan.privacy, 5, scores=2 * BINS, depth=1)
    noisy = [
        (counts + sum(noise(bytes([i, n]) * 16, parts).view(np.int64) for n in range(5)))
        for i in range(60)
    ]
    exact = scores.auc(Plan(schema=schema), counts.astype(np.uint64))
    found = [scores.auc(plan, sums.view(np.uint64)) for sums in noisy]
    error = 4 * np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - exact) < error
    cut = [scores.auc(plan, np.maximum(sums, 0).view(np.uint64)) for sums in noisy]
    assert exact - np.mean(cut) > 2 * error


def test_every_run_draws_its_own_noise(schema, data):
    (states, outcomes), _ = data
    plan = plan_of(schema, 20, trees=1)
    first, second = (train(plan, states, outcomes, 5).trees for _ in range(2))
    assert np.array([t.root for t in first]) != np.array([t.root for t in second])
