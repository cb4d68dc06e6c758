"""Synthetic loans: in the schema's domain, with a signal, and unequal between regions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from features.encoding import Layout
from features.schema import Schema
from settings import ROOT
from training.data import training_frame
from training.models import Shape, Stage, fit, log_odds
from training.synthetic_german import TARGET, draw, region_of
from utils.errors import TrainingDataInvalid

SCHEMA = Schema.load(ROOT / "features" / "german_credit.json")
LAYOUT = Layout(SCHEMA)
REGIONS = range(6)


@pytest.fixture(scope="module")
def loans():
    """Return 6,000 loans of each region."""
    return [draw(6000, 1, region) for region in REGIONS]


def test_same_arguments_give_the_same_rows(loans) -> None:
    assert draw(6000, 1, 2).equals(loans[2])
    assert not draw(6000, 2, 2).equals(loans[2])
    with pytest.raises(TrainingDataInvalid, match="at least 1 row"):
        draw(0, 1)
    with pytest.raises(TrainingDataInvalid, match="region must be 0 or more"):
        region_of(-1)


def test_region_0_has_the_documented_marginals(loans) -> None:
    frame = loans[0]
    assert frame["age"].median() == pytest.approx(33, abs=1)
    assert frame["credit"].median() == pytest.approx(2320, rel=0.02)
    assert frame["duration"].median() == 18
    assert frame[TARGET].mean() == pytest.approx(0.70, abs=0.03)
    assert frame["credit"].corr(frame["duration"], method="spearman") > 0.5


def test_model_has_a_realistic_auc_and_age_never_hurts(loans) -> None:
    bits = [LAYOUT.encode_frame(frame) for frame in loans]
    y = [frame[TARGET].to_numpy(np.int8) for frame in loans]
    shape = Shape("small", (Stage(60, 3, learning_rate=0.2),))
    booster = fit(shape, LAYOUT, bits[0][:4500], y[0][:4500])
    assert 0.70 < roc_auc_score(y[0][4500:], log_odds(booster, bits[0][4500:])) < 0.80
    # Regions differ in their rows, and hardly in how an outcome depends on them.
    assert all(roc_auc_score(y[r], log_odds(booster, bits[r])) > 0.68 for r in REGIONS)
    older = loans[0].assign(age=lambda f: np.minimum(f["age"] + 20, 75))
    changes = log_odds(booster, LAYOUT.encode_frame(older)) - log_odds(booster, bits[0])
    assert changes.min() > -1e-6 and changes.max() > 0.1


def test_regions_are_not_identically_distributed(loans) -> None:
    for frame in loans[1:]:
        assert ks_2samp(frame["age"], loans[0]["age"]).pvalue < 1e-3
        assert ks_2samp(frame["credit"], loans[0]["credit"]).pvalue < 1e-3
    rates = [frame[TARGET].mean() for frame in loans]
    assert max(rates) - min(rates) > 0.1
    assert len({frame["purpose"].value_counts().index[0] for frame in loans}) > 1


def test_training_draws_from_this_source() -> None:
    frame, y = training_frame(SCHEMA, None, None, 200, 9)
    drawn = draw(200, 9)
    assert frame["credit"].tolist() == drawn["credit"].tolist()
    assert np.array_equal(y, drawn[TARGET])
