"""The two apps: the interface of a data owner's agent, and that of an institution's."""

from __future__ import annotations

from parties.governance.api import institution_calls, institution_duo, owner_calls, owner_duo
from parties.governance.api.app import AgentApp, Guarded, make_app
from parties.governance.api.bodies import LARGEST_DATA
from parties.governance.api.common_calls import activity_router
from parties.governance.api.duo_listings import TAG

_DUO = "Calls with the members and texts of Duo. `idx` may be an index or an id."
OWNER_TAGS = {
    TAG: _DUO,
    "sessions": "The agent's key, and sessions with institutions.",
    "data": "The encrypted data store. Values never leave it.",
    "requests": "The inbox: approve, approve less, deny, pause, resume, revoke.",
    "consents": "Consents to partners that ask the server's policy gateway.",
    "activity": "What happened at this agent.",
}
INSTITUTION_TAGS = {
    TAG: _DUO,
    "sessions": "The agent's key, and sessions with data owners.",
    "data": "The owners' data sets, as descriptions and invented rows.",
    "requests": "Requests, their states, and the results of their uses.",
    "records": "Masked records, for permits of the server's policy gateway.",
    "activity": "What happened at this agent.",
}


def owner_app(guarded: Guarded | None = None) -> AgentApp:
    """Return the app of an owner's agent; without `guarded`, only for its OpenAPI document."""
    return make_app(
        "Triseal: a data owner's agent",
        "Data that stay with their owner, who decides on every use.",
        (
            *(owner_duo.router, owner_calls.sessions_router, owner_calls.data_router),
            *(owner_calls.requests_router, owner_calls.consents_router),
            activity_router("activity"),
        ),
        OWNER_TAGS,
        {"/store_data": LARGEST_DATA, "/data_sets": LARGEST_DATA},
        guarded,
    )


def institution_app(guarded: Guarded | None = None) -> AgentApp:
    """Return the app of an institution's agent; without `guarded`, only for its document."""
    return make_app(
        "Triseal: an institution's agent",
        "Requests for the use of data that stay with their owners.",
        (
            *(institution_duo.router, institution_calls.sessions_router),
            *(institution_calls.data_router, institution_calls.requests_router),
            *(institution_calls.records_router, activity_router("activity")),
        ),
        INSTITUTION_TAGS,
        {},
        guarded,
    )
