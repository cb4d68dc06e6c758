"""The ServerApp, which Flower runs on the coordinator's machine; it sees sums only."""

from __future__ import annotations

from contextlib import closing

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federated.agents.code_files import write_codes
from federated.agents.coordinator_agent import CoordinatorAgent
from federated.agents.options import identity_of, pins_of
from federated.agents.progress import TrainingView
from federated.agents.reporting import Reporter
from federated.flower.mailboxes import Mailboxes
from federated.flower.options import RunOptions
from federated.flower.transport import FlowerTransport
from utils.errors import TrainingUnfinished

FINISH_SECONDS = 60.0
"""Seconds in which the nodes are told the end of the training."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Coordinate the training of the run's configuration; the model is in the coordinator's folder.

    Raises TrainingUnfinished if the training has ended without a model.
    """
    view = coordinate(grid, RunOptions.of(context.run_config))
    if view.state != "finished":
        raise TrainingUnfinished(f"The training is {view.state}. {view.reason}")


def coordinate(grid: Grid, options: RunOptions) -> TrainingView:
    """Host a training, or go on with the one in the folder, until it ends; returns its state."""
    home = options.folder
    key, pins = identity_of(home), pins_of(options.trust_file)
    with closing(Mailboxes(home)) as boxes:
        transport = FlowerTransport(grid, boxes, options.step_seconds)
        agent = CoordinatorAgent.resume(home, transport, key, pins, options.patience)
        if agent is None:
            agent = CoordinatorAgent.host(
                home, transport, key, options.plan(), options.lenders, pins, options.patience
            )
        with closing(agent):
            write_codes(home, agent.codes)
            print(f"Plan {agent.plan.digest()[:16]}; identity key {key.public.hex()}.", flush=True)
            view = agent.run(Reporter(agent.events))
            transport.finish(FINISH_SECONDS)
            print(f"{transport.traffic}.", flush=True)
    return view
