"""Lenders' files, and a Grid that runs the ClientApp in this process."""

from __future__ import annotations

import csv
import random
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from features.encoding import Layout
from features.records import read_records
from features.schema import Schema
from federated.boosting.booster_json import booster_json
from federated.boosting.pooled import pooled
from federated.boosting.rows import LocalRows
from federated.flower.client_app import app
from federated.flower.options import RunOptions
from federated.protocol.record import Record
from settings import ROOT

SCHEMA = ROOT / "features" / "german_credit.json"
PURPOSES = ("business", "car (new)", "car (used)", "furniture/equipment", "repairs")


def write_rows(path, rows, seed):
    """Write invented loans, of which the long and large ones are repaid less often."""
    draw = random.Random(seed)
    names = ["age", "sex", "job", "housing", "credit", "purpose", "duration", "credit_risk"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for _ in range(rows):
            age, credit = draw.randint(19, 75), draw.randint(300, 15000)
            duration = draw.choice([6, 12, 18, 24, 36, 48])
            risk = duration / 24 + credit / 8000 - age / 40 + draw.gauss(0, 0.7)
            sex = draw.choice(["female", "male", ""])
            job = draw.choice(["unskilled resident", "skilled", "highly skilled"])
            housing = draw.choice(["own", "rent", "free"])
            facts = [age, sex, job, housing, credit, draw.choice(PURPOSES), duration]
            writer.writerow([*facts, int(risk < 1.2)])


def run_config(folder, lenders, rows=200, **more):
    """Write the lenders' files; returns the configuration of a simulated run."""
    names = [f"lender_{i}" for i in range(lenders)]
    for seed, name in enumerate(names):
        write_rows(folder / f"{name}.csv", rows, seed)
    config = {
        "home": str(folder / "coordinator"),
        "lenders": ",".join(names),
        "schema": str(SCHEMA),
        "trees": 4,
        "depth": 2,
        "simulated-homes": str(folder / "{name}"),
        "simulated-data": str(folder / "{name}.csv"),
    }
    return {**config, **more}


def node_config(config, name, **more):
    """Return the configuration of a lender's node, with the same files as in a simulation."""
    return {
        "name": name,
        "home": config["simulated-homes"].replace("{name}", name),
        "data": config["simulated-data"].replace("{name}", name),
        "code-file": f"{config['home']}/codes/{name}",
        "schema": config["schema"],
        **more,
    }


def require_pooled(config, without=()):
    """Require the model that pooled training gives on the record's lenders; returns the record.

    The coordinator and all lenders, except those in `without`, have it.
    """
    options = RunOptions.of(config)
    plan = options.plan()
    record = Record.model_validate_json((options.folder / "record.json").read_bytes())
    layout = Layout(Schema.load(SCHEMA))
    rows = {}
    for name in options.lenders:
        records = read_records(ROOT / config["simulated-data"].replace("{name}", name), layout)
        rows[name] = LocalRows(plan, records.states, records.outcomes)
    expected = pooled(plan, rows, record.grown(), record.usable)
    model = booster_json(plan, expected.trees[: record.kept])
    assert (options.folder / "booster.json").read_bytes() == model
    for name in set(options.lenders) - set(without):
        home = ROOT / config["simulated-homes"].replace("{name}", name)
        (found,) = (home / "trainings").iterdir()
        assert (found / "booster.json").read_bytes() == model
    return record


class Stopped(Exception):
    """The end of a ServerApp's process."""


class InProcessGrid:
    """Delivers each message at once, and keeps the content of all.

    `fails(lender, number of its delivery)` makes a node fail, and `nodes` are configurations of
    single nodes, which a simulation does not have. After `most` messages the ServerApp's process
    ends.
    """

    def __init__(self, config, fails=None, nodes=None, most=None):
        self.config, self.most, self.own = config, most, nodes or {}
        self.fails = fails or (lambda name, number: False)
        self.contents = []
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        names = RunOptions.of(config).lenders
        self.nodes = {100 + i: name for i, name in enumerate(names)}
        self.numbers = {name: count() for name in names}
        self.replies = {}
        self.ids = count(1)

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        return [self._deliver(message) for message in messages]

    def pull_messages(self, ids):
        return [self.replies.pop(one) for one in list(ids) if one in self.replies]

    def _deliver(self, message):
        node = message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = found = str(next(self.ids))
        position, name = list(self.nodes).index(node), self.nodes[node]
        own = self.own.get(name, {"partition-id": position})
        context = Context(1, node, own, RecordDict(), self.config)
        if self.most is not None and int(found) > self.most:
            raise Stopped
        self.contents.append(message.content)
        if self.fails(name, next(self.numbers[name])):
            reply = Message(Error(code=0, reason="failed"), reply_to=message)
        else:
            reply = app(message, context)
            self.contents.append(reply.content)
        self.replies[found] = reply
        return found
