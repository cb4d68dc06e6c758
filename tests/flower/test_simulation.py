"""The app in Flower's simulation: the trees are those of pooled training."""

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from tests.flower.lenders import require_pooled, run_config


def test_trees_are_those_of_pooled_training(tmp_path):
    config = run_config(tmp_path, 3)
    server, client = ServerApp(), ClientApp()

    @server.main()
    def main(grid, context):
        from federated.flower import server_app

        context.run_config = config
        server_app.app(grid, context)

    @client.train()
    def train(message, context):
        from federated.flower import client_app

        context.run_config = config  # Flower passes a run's configuration by its command only
        return client_app.app(message, context)

    resources = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client, num_supernodes=3, backend_config=resources)
    record = require_pooled(config)
    assert [len(tree.lenders) for tree in record.trees] == [3, 3, 3, 3]
