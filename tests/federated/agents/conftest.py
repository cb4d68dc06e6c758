"""One server, four lenders and one finished training for all tests of the agents' interface."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from federated.agents import coordinator_agent, lender_agent
from tests.federated.agents.lenders import SECONDS, Agent, AgentProcess, Interrupted, csv_of
from tests.service.driver import Server

NAMES = ("lender_1", "lender_2", "lender_3", "lender_4")
PLAN = {"trees": 3, "depth": 2, "learning_rate": 0.5, "validation_share": 0.2}


@dataclass
class Trained:
    """Three agents in this process and one of its own, after a training with interruptions."""

    server: Server
    agents: dict[str, Agent]
    process: AgentProcess
    run_id: str = ""
    begun: dict = field(default_factory=dict)
    interrupted: dict = field(default_factory=dict)
    """States of the lenders while the training could not go on."""
    news: list = field(default_factory=list)

    def __getitem__(self, number: int) -> Agent:
        return self.agents[NAMES[number - 1]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenders")
    brief = pytest.MonkeyPatch()
    for module in (coordinator_agent, lender_agent):
        brief.setattr(module, "LONGEST_WAIT", 0.5)  # agents that are closed end their calls first
    server = Server(folder / "server").wait()
    data = folder / "loans_4.csv"
    data.write_bytes(csv_of(4))
    agents = {name: Agent(folder, name, server.url) for name in NAMES[:3]}
    process = AgentProcess(folder, NAMES[3], server.url, data)
    found = Trained(server, agents, process)
    try:
        _train(found)
        yield found
    finally:
        for agent in agents.values():
            agent.close()
        process.process.stop()
        server.stop()
        brief.undo()
    assert "Exception in ASGI application" not in server.log() + process.process.log()


def _train(found: Trained) -> None:
    """Train, with one agent closed and one killed in the middle; both are started again."""
    (found[1].wanted.data_folder / "loans.csv").write_bytes(csv_of(1))
    for number in (2, 3):
        headers = {"Content-Type": "text/csv"}
        stored = found[number].call(
            "PUT", "/fl_data/loans", content=csv_of(number), headers=headers
        )
        assert stored == {"name": "loans", "rows": 75}
    body = {"addr": "loans.csv", "lenders": NAMES[1:], **PLAN}
    found.begun = found[1].call("POST", "/fl_train", 202, json=body)
    found.run_id, codes = found.begun["run_id"], found.begun["codes"]

    client = found[3].lender.runs._lending.client
    cut = Interrupted(client, exchanges=7).cut
    for number in (2, 3):
        body = {"addr": "loans", "code": codes[NAMES[number - 1]]}
        found[number].call("POST", "/fl_train", 202, json=body)
    found.process.call("POST", "/fl_train", 202, json={"code": codes[NAMES[3]]})
    assert cut.wait(SECONDS)
    for number in (1, 3):
        found.interrupted[number] = found[number].call("GET", f"/fl_train/{found.run_id}")
    found.interrupted[4] = found.process.call("GET", f"/fl_train/{found.run_id}")
    found.process.process.kill()
    found[3].close()
    found.process.start()
    found[3].start()
    found.news = list(found[1].stream(found.run_id))
    for agent in (*found.agents.values(), found.process):
        agent.until(found.run_id, {"finished"})
