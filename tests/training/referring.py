"""A small model with a grey zone, trained on invented data and compiled."""

from __future__ import annotations

import pytest

import training.compile
from engines.deployment import Deployment
from tests.training.risk_data import risk_frame
from tests.training.test_training_options import train

BETWEEN = ("--refer-between", 0.25, 0.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the folder that training.train wrote."""
    with pytest.MonkeyPatch.context() as patch:
        yield train(tmp_path_factory.mktemp("referrals"), patch, risk_frame(2200, 3), *BETWEEN)


@pytest.fixture(scope="module")
def deployed(model):
    """Return the deployment for the engines clear and levelled."""
    out = model.parent / "compiled"
    options = ["--model", model, "--out", out, "--engines", "clear", "levelled"]
    assert training.compile.main([*map(str, options)]) == 0
    return Deployment.load(out)
