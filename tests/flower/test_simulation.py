"""The app in Flower's simulation: the trees are those of pooled training."""

import pytest
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from tests.flower.lenders import require_pooled, run_config


@pytest.mark.timeout(120)
def test_trees_are_those_of_pooled_training(tmp_path):
    config = run_config(tmp_path, 3)
    server, client = ServerApp(), ClientApp()

    # Only `flwr run` gives the apps a run's configuration, so that these two add it.
    def configured(context):
        return Context(context.run_id, context.node_id, context.node_config, context.state, config)

    @server.main()
    def main(grid, context):
        from federated.flower import server_app

        server_app.app(grid, configured(context))

    @client.train()
    def train(message, context):
        from federated.flower import client_app

        return client_app.app(message, configured(context))

    resources = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client, num_supernodes=3, backend_config=resources)
    record = require_pooled(config)
    assert [len(tree.lenders) for tree in record.trees] == [3, 3, 3, 3]
