"""The call of the Fineract credit scorecard, by the newest federated model of this machine."""

from __future__ import annotations

from federated.agents.api.bodies import Scorecard
from federated.agents.api.common import SERVER, LenderDep, lender_router, may_raise
from federated.scorecard import Prediction
from utils.errors import EngineUnavailable, ModelNotCompiled, NoFederatedModel
from web.openapi import BODY

router = lender_router("predictions", "/fl_predict")


@router.post(
    "",
    summary="Predict a loan",
    response_description="The prediction.",
    responses=may_raise(*BODY, *SERVER, NoFederatedModel, ModelNotCompiled, EngineUnavailable),
)
def predict(lender: LenderDep, body: Scorecard) -> Prediction:
    """Return the prediction of the newest finished model on this lender's machine.

    With `"encrypted": true`, the server decides on ciphertexts, with the parties played by this
    agent, and only the decision is opened; its model must have been compiled from the newest one.
    The compiled model rounds scores, so that a decision very close to the limit may differ.
    """
    return lender.predictions.predict(body)
