"""The process of `python -m federated lender --api-port PORT`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from features.encoding import Layout
from features.schema import Schema
from federated.agents.api.app import lender_app
from federated.agents.api.common import LocalLender
from federated.agents.api.data_sets import OWN, DataSets
from federated.agents.api.encrypted_decision import EncryptedDecisions
from federated.agents.api.local_model import LocalModels
from federated.agents.api.local_run import Lending
from federated.agents.api.local_runs import LocalRuns
from federated.agents.api.predictions import Predictions, RequestNumbers
from federated.agents.limits import LenderLimits
from federated.agents.options import connected, identity_of, pins_of
from parties.agent_options import listening, serve_agent
from parties.governance.api.access import API_TOKEN, api_token
from parties.governance.api.app import HOST, Guarded
from parties.governance.api.serving import stop_on_sigterm
from settings import Settings
from utils.addresses import url_of
from utils.errors import AlreadySent
from utils.file_lock import hold_lock

TRAININGS, DATA, DECISIONS, REQUESTS = "trainings", "data", "decisions", "last_request"
"""Names in the agent's folder."""


@dataclass(frozen=True)
class WantedAgent:
    """The parsed command line; None stands for the settings' value, or for nothing."""

    name: str
    home: Path
    server: str | None
    schema: Path
    target: str | None
    trust: Path | None
    limits: LenderLimits
    data: Path | None
    data_folder: Path | None
    code: str | None
    api_port: int


@contextmanager
def local_lender(wanted: WantedAgent, settings: Settings) -> Iterator[LocalLender]:
    """Yield the lender in the folder `home`, with its unfinished trainings going on.

    Raises DataFolderInUse if another process has it, and the errors of the files named.
    """
    layout = Layout(Schema.load(wanted.schema))
    home, url = wanted.home, wanted.server or settings.url
    with ExitStack() as held:
        key = identity_of(home)  # claims the folder, before anything else is written there
        taken = f"Another process has {home} open; stop it, or choose another folder by --home."
        held.enter_context(closing(hold_lock(home / "agent.lock", taken)))
        client = held.enter_context(connected(wanted.server, settings))
        data = DataSets(home / DATA, wanted.data_folder, layout, wanted.target, wanted.data)
        lending = Lending(
            wanted.name, layout, key, pins_of(wanted.trust), wanted.limits, client, data
        )
        runs = held.enter_context(closing(LocalRuns(home / TRAININGS, lending)))
        runs.resume()
        if wanted.code is not None:
            with suppress(AlreadySent):  # the agent is started again
                runs.join(OWN, wanted.code)
        predictions = Predictions(
            LocalModels(runs),
            EncryptedDecisions(home / DECISIONS, url, settings),
            RequestNumbers(home / REQUESTS),
        )
        yield LocalLender(layout.schema, data, runs, predictions)


def serve(wanted: WantedAgent, settings: Settings) -> None:
    """Serve the interface until the process is stopped; raises PortInUse."""
    stop_on_sigterm()
    with listening(wanted.api_port) as listener, local_lender(wanted, settings) as lender:
        app = lender_app(Guarded(lender, api_token(wanted.home), settings))
        line = (
            f"The agent of {wanted.name} listens at {url_of(HOST, wanted.api_port)}; its token is "
            f"in {wanted.home / API_TOKEN}."
        )
        serve_agent(app, listener, line, settings.stall_timeout, None)
