"""Lenders that fail, a coordinator that starts again, and messages that nobody should believe."""

from __future__ import annotations

import tomllib

import pytest
from flwr.app import ConfigRecord, RecordDict

from contract.trainings import COORDINATOR
from features.schema import Schema
from federated.agents import coordinator_agent
from federated.flower import server_app, transport
from federated.flower.mailboxes import MOST_WAITING, Mailboxes
from federated.flower.messages import Delivery, Letter, Reply, content_of, read
from federated.flower.node import REFUSED
from federated.flower.options import NodeOptions, RunOptions
from federated.flower.transport import FlowerTransport
from federated.plan import Plan
from settings import ROOT
from tests.flower.lenders import (
    SCHEMA,
    InProcessGrid,
    Stopped,
    node_config,
    require_pooled,
    run_config,
)
from utils.errors import InvalidRequest, MalformedMessage, PlanInvalid

LENDERS = ("lender_0", "lender_1", "lender_2")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(transport, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(transport, "NODES_SECONDS", 0.02)
    monkeypatch.setattr(coordinator_agent, "STAY_SECONDS", 1.0)
    monkeypatch.setattr(server_app, "FINISH_SECONDS", 5.0)


def coordinate(grid):
    return server_app.coordinate(grid, RunOptions.of(grid.config))


# ---- lenders and coordinators that fail


def test_a_node_that_fails_in_one_round_takes_part_in_every_tree(tmp_path):
    config = run_config(tmp_path, 3)
    grid = InProcessGrid(config, lambda name, number: name == "lender_1" and number in (5, 8))
    assert coordinate(grid).state == "finished"
    assert all(len(tree.lenders) == 3 for tree in require_pooled(config).trees)


def test_a_node_that_is_away_is_left_out_and_joins_at_a_later_tree(tmp_path):
    config = run_config(tmp_path, 4, trees=6, **{"step-seconds": 1.0})
    seen = {}

    def fails(name, number):
        seen[name] = number
        return name == "lender_3" and number >= 6 and seen["lender_0"] < 20

    assert coordinate(InProcessGrid(config, fails)).state == "finished"
    rosters = [tree.lenders for tree in require_pooled(config).trees]
    assert len(rosters[-1]) == 4  # it is back
    assert any("lender_3" not in roster for roster in rosters)


@pytest.mark.parametrize("most", [3, 30])
def test_a_serverapp_that_is_killed_goes_on_with_the_next_run(tmp_path, most):
    config = run_config(tmp_path, 3)
    with pytest.raises(Stopped):
        coordinate(InProcessGrid(config, most=most))
    assert coordinate(InProcessGrid(config)).state == "finished"
    require_pooled(config)


def test_a_lender_that_refuses_the_plan_sends_nothing_more(tmp_path):
    config = run_config(tmp_path, 4)
    own = node_config(config, "lender_2", **{"least-rows": 11})
    grid = InProcessGrid(config, nodes={"lender_2": own})
    view = coordinate(grid)
    assert {one.name: one.status for one in view.lenders}["lender_2"] == "refused"
    record = require_pooled(config, without=["lender_2"])
    assert all("lender_2" not in tree.lenders for tree in record.trees)
    (home,) = (tmp_path / "lender_2" / "trainings").iterdir()
    assert "11" in (home / REFUSED).read_text()


# ---- what Flower sees and may do


def test_flower_sees_sealed_messages_only(tmp_path):
    """The content is ciphertext of ChaCha20-Poly1305: nothing in it has the messages' words."""
    config = run_config(tmp_path, 3, trees=1)
    grid = InProcessGrid(config)
    coordinate(grid)
    sealed = []
    for content in grid.contents:
        kind = Delivery if b'"letters"' in content["triseal"]["json"] else Reply
        message = read(kind, content)
        sealed += message.letters if isinstance(message, Delivery) else message.posts
    assert len(sealed) > 20
    for one in sealed:
        assert b'"kind"' not in one.body and b"lender_" not in one.body


@pytest.fixture
def boxes(tmp_path):
    found = Mailboxes(tmp_path)
    found.codes = found.host(LENDERS)
    yield found
    found.close()


class Puppets:
    """A Grid whose only node replies with given contents, one after another."""

    def __init__(self, *contents):
        self.contents, self.sent, self.waiting = list(contents), [], []

    def get_node_ids(self):
        return [7]

    def push_messages(self, messages):
        (message,) = messages
        self.sent.append(read(Delivery, message.content))
        if self.contents:
            self.waiting.append(self.contents.pop(0))
        return [str(len(self.sent))]

    def pull_messages(self, ids):
        if not self.waiting:
            return []
        content = self.waiting.pop(0)
        return [_Answer(next(iter(ids)), content)]


class _Answer:
    def __init__(self, replied, content):
        self.metadata = type("M", (), {"reply_to_message_id": replied})
        self.content = content

    def has_error(self):
        return False


@pytest.mark.parametrize("genuine", [True, False])
def test_a_node_without_the_code_of_a_lender_gets_and_confirms_nothing(boxes, genuine):
    """With the code, as the control, the lender's messages go to the node and are confirmed."""
    boxes.post(COORDINATOR, None, 1, b"hello")
    code = boxes.codes["lender_1"] if genuine else boxes.codes["lender_0"]
    reply = content_of(Reply(name="lender_1", code=code, after=99))
    grid = Puppets(reply, reply)
    FlowerTransport(grid, boxes, 1.0).exchange("", "", wait=0.2)
    assert (len(boxes.waiting("lender_1")) == 0) is genuine
    assert genuine or not any(one.letters for one in grid.sent)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"triseal": ConfigRecord({"json": b"[]"})}),
        RecordDict({"triseal": ConfigRecord({"json": "{}"})}),
        RecordDict({"triseal": ConfigRecord({"json": b"{" * (7 << 20)})}),
    ],
    ids=["empty", "list", "text", "large"],
)
def test_content_of_another_form_is_refused_and_the_node_asked_again(boxes, content):
    with pytest.raises(MalformedMessage, match="another version"):
        read(Reply, content)
    boxes.post(COORDINATOR, None, 1, b"hello")
    code = boxes.codes["lender_1"]
    grid = Puppets(content, content_of(Reply(name="lender_1", code=code, after=99)))
    carried = FlowerTransport(grid, boxes, 1.0)
    carried.exchange("", "", wait=0.2)
    assert carried.traffic.failed == 1
    assert boxes.waiting("lender_1") == []


def test_a_repeated_message_is_kept_once_and_one_to_a_stranger_not_at_all(boxes):
    for _ in range(2):
        boxes.post("lender_0", COORDINATOR, 3, b"sums")
    boxes.post("lender_0", "stranger", 4, b"sums")
    assert [one.number for one in boxes.waiting(COORDINATOR)] == [3]


def test_a_lender_that_is_away_for_long_keeps_the_first_messages_only(boxes):
    for number in range(1, MOST_WAITING + 2):
        boxes.post(COORDINATOR, None, number, b"x")
    assert [one.number for one in boxes.waiting("lender_0")] == [1, 2]
    assert boxes.was_dropped("lender_0")


def test_a_batch_has_a_bounded_size_and_at_least_one_message(boxes):
    for number in range(1, 40):
        boxes.post(COORDINATOR, "lender_0", number, bytes(256 * 1024))
    batch = boxes.batch("lender_0")
    assert 1 <= len(batch) < 39 and sum(len(one.body) for one in batch) <= 4 << 20
    read(Delivery, content_of(Delivery(training_id="0" * 32, members=LENDERS, letters=batch)))


def test_a_letter_has_a_bounded_body():
    with pytest.raises(ValueError, match="body"):
        Letter(id=1, sender="lender_0", to=None, number=1, body=b"")


# ---- configuration


def test_every_default_of_the_app_is_a_known_option():
    app = tomllib.loads((ROOT / "federated" / "flower" / "pyproject.toml").read_text())
    options = RunOptions.of(app["tool"]["flwr"]["app"]["config"])
    assert options.plan() == Plan.parse({"schema": Schema.load(SCHEMA).model_dump(mode="json")})
    assert (
        RunOptions.of({**options.model_dump(by_alias=True), "noise-multiplier": 2}).plan().privacy
    )


def test_the_run_names_no_files_of_a_node_that_has_its_own_configuration(tmp_path):
    """Otherwise whoever starts a run could have any file of a lender read as its data."""
    config = run_config(tmp_path, 3, rows=1, **{"simulated-data": "/etc/passwd"})
    own = node_config(config, "lender_1", data="own.csv")
    assert NodeOptions.of(own, config).data.name == "own.csv"
    assert NodeOptions.of({**own, "partition-id": 0}, config).data.name == "own.csv"
    with pytest.raises(InvalidRequest, match="node's configuration"):
        NodeOptions.of({}, config)


def test_a_wrong_configuration_is_named(tmp_path):
    config = run_config(tmp_path, 3, rows=1)
    with pytest.raises(InvalidRequest, match="step-seconds"):
        RunOptions.of({**config, "step-seconds": 0})
    with pytest.raises(InvalidRequest, match="deepth"):
        RunOptions.of({**config, "deepth": 2})
    with pytest.raises(InvalidRequest, match="twice"):
        RunOptions.of({**config, "lenders": "a,b,c,a"})
    with pytest.raises(PlanInvalid, match="depth"):
        RunOptions.of({**config, "depth": 9}).plan()
    with pytest.raises(InvalidRequest, match="more nodes"):
        NodeOptions.of({"partition-id": 3, "num-partitions": 4}, config)
