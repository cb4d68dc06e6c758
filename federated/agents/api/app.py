"""The app of a lender's agent, guarded as those of the other agents."""

from __future__ import annotations

from federated.agents.api import data_calls, predict_calls, train_calls
from federated.agents.api.data_sets import LARGEST_DATA
from parties.governance.api.app import AgentApp, Guarded, make_app

TAGS = {
    "trainings": "Trainings of one model by several lenders; rows stay with their lenders.",
    "data": "This lender's data sets.",
    "predictions": "Predictions of the finished model.",
}


def lender_app(guarded: Guarded | None = None) -> AgentApp:
    """Return the app of a lender's agent; without `guarded`, only for its OpenAPI document."""
    return make_app(
        "Triseal: a lender's agent",
        "One model that several lenders train together.",
        (train_calls.router, data_calls.router, predict_calls.router),
        TAGS,
        {"/fl_data/": LARGEST_DATA},
        guarded,
        more_members={},
    )
