"""The coordinator's transport over Flower: its ServerApp sends each node what waits for it.

A node is known by the name and the code in its replies, not by its Flower id, which changes when a
SuperNode is started again. At most one Flower message is on its way to a node.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from contract.trainings import COORDINATOR, TrainingHosted
from federated.flower.mailboxes import Mailboxes
from federated.flower.messages import Delivery, Reply, content_of, read
from parties.trainings_client import TrainingNews, TrainingPost, TrainingReceived
from utils.errors import MalformedMessage

POLL_SECONDS = 0.1
NODES_SECONDS = 2.0
"""Seconds between two looks for nodes, and before a node that has failed is asked again."""
LIFETIME_SECONDS = 300.0
"""Seconds after which a message that a node has not fetched is given up."""


@dataclass
class _Node:
    """A node: the lender's name once it is known, and when it may be asked next."""

    name: str | None = None
    asked: str | None = None
    asked_at: float = 0.0
    announcing: bool = False
    next_at: float = 0.0


@dataclass
class Traffic:
    """Flower messages sent, replies and failures, and the seconds from message to reply."""

    sent: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        median = statistics.median(self.seconds) if self.seconds else 0.0
        return (
            f"{self.sent} Flower messages, {self.failed} failed; {median:.1f} s from message to "
            "reply (median)"
        )


class FlowerTransport:
    """Implements CoordinatorTransport over a Grid.

    `late` is the number of seconds after which the coordinator goes on without a lender: one that
    replies later is asked to announce itself. Not thread-safe.
    """

    def __init__(
        self,
        grid: Grid,
        boxes: Mailboxes,
        late: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._boxes, self._late = grid, boxes, late
        self._clock, self._sleep = clock, sleep
        self._nodes: dict[int, _Node] = {}
        self._looked_at = -NODES_SECONDS
        self._absent: set[str] = set(boxes.members) if boxes.hosted else set()
        self.traffic = Traffic()

    # ---- the calls of CoordinatorTransport

    def host_training(
        self, key: Ed25519PrivateKey, members: Sequence[str], hours: float = 24.0
    ) -> TrainingHosted:
        """Begin a training in the coordinator's folder; Flower itself has no part in it."""
        codes = self._boxes.host(members)
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
        return TrainingHosted(
            training_id=self._boxes.training_id,
            token="",
            codes=codes,
            expires_at=expires.isoformat(),
        )

    def close_training(self, training_id: str, token: str) -> None:
        """End the training for all."""
        self._boxes.shut()

    def exchange(
        self,
        training_id: str,
        token: str,
        posts: Sequence[TrainingPost] = (),
        after: int = 0,
        wait: float = 0.0,
        least: int = 1,
        linger: float = 0.0,
    ) -> TrainingNews:
        """Send the coordinator's messages, and wait for `least` messages of lenders.

        Raises StoreDamaged, and the errors of Flower's Grid.
        """
        boxes = self._boxes
        boxes.confirm(COORDINATOR, after)
        for one in posts:
            boxes.post(COORDINATOR, one.to, one.number, one.body)
        boxes.save()
        self._carry(lambda: len(boxes.waiting(COORDINATOR)) >= least, wait)
        letters = boxes.batch(COORDINATOR)
        found = [TrainingReceived(x.id, x.sender, x.to, x.number, x.body) for x in letters]
        return TrainingNews(
            messages=found,
            after=found[-1].id if found else after,
            state="open" if boxes.is_open else "closed",
            more=len(found) < len(boxes.waiting(COORDINATOR)),
            dropped=boxes.was_dropped(COORDINATOR),
        )

    def finish(self, seconds: float) -> None:
        """Deliver what still waits for lenders, for at most `seconds`."""
        boxes = self._boxes
        self._carry(lambda: not any(boxes.waiting(name) for name in boxes.members), seconds)

    # ---- Flower's messages

    def _carry(self, enough: Callable[[], bool], seconds: float) -> None:
        """Send and receive until `enough`, or for `seconds`; at least once."""
        end = self._clock() + seconds
        while True:
            self._look_for_nodes()
            self._send()
            if self._receive():
                self._boxes.save()
            if enough():
                return
            left = end - self._clock()
            if left <= 0:
                return
            self._sleep(min(POLL_SECONDS, left))

    def _look_for_nodes(self) -> None:
        now = self._clock()
        if now - self._looked_at < NODES_SECONDS:
            return
        self._looked_at = now
        present = set(self._grid.get_node_ids())
        for number in self._nodes.keys() - present:
            self._lost(self._nodes[number])
        self._nodes = {number: self._nodes.get(number, _Node()) for number in present}

    def _send(self) -> None:
        now = self._clock()
        for number, node in self._nodes.items():
            if node.asked is not None and now - node.asked_at > LIFETIME_SECONDS:
                self._failed(node)
            if node.asked is None and node.next_at <= now:
                delivery = self._due(node)
                if delivery is not None:
                    self._push(number, node, delivery)

    def _due(self, node: _Node) -> Delivery | None:
        """Return what a node is to be sent, or None; a node without a name is asked for it."""
        boxes = self._boxes
        facts = {"training_id": boxes.training_id, "members": boxes.members}
        if node.name is None:
            return Delivery(**facts)
        letters = boxes.batch(node.name)
        announce = boxes.was_dropped(node.name) or node.name in self._absent
        if not letters and not announce:
            return None
        return Delivery(
            **facts, letters=letters, confirmed=boxes.last(node.name), announce=announce
        )

    def _push(self, number: int, node: _Node, delivery: Delivery) -> None:
        message = Message(content_of(delivery), number, MessageType.TRAIN, ttl=LIFETIME_SECONDS)
        ids = list(self._grid.push_messages([message]))
        if not ids:  # the node has just gone
            self._failed(node)
            return
        node.asked, node.asked_at, node.announcing = ids[0], self._clock(), delivery.announce
        self.traffic.sent += 1

    def _receive(self) -> bool:
        """Take the replies that have come; returns False if there are none."""
        asked = {node.asked: node for node in self._nodes.values() if node.asked is not None}
        if not asked:
            return False
        replies = list(self._grid.pull_messages(list(asked)))
        for message in replies:
            node = asked.get(message.metadata.reply_to_message_id)
            if node is not None:
                self._replied(node, message)
        return bool(replies)

    def _replied(self, node: _Node, message: Message) -> None:
        seconds = self._clock() - node.asked_at
        try:
            if message.has_error():
                self._failed(node)
                return
            reply = read(Reply, message.content)
        except MalformedMessage:
            self._failed(node)
            return
        node.asked = None
        self.traffic.seconds.append(seconds)
        if reply.name is None or not self._boxes.is_member(reply.name, reply.code):
            node.name, node.next_at = None, self._clock() + NODES_SECONDS
            return
        if node.announcing:
            self._absent.discard(reply.name)
        node.name = reply.name
        if seconds > self._late:
            self._absent.add(reply.name)
        self._boxes.confirm(reply.name, reply.after)
        for post in reply.posts:
            self._boxes.post(reply.name, post.to, post.number, post.body)

    def _failed(self, node: _Node) -> None:
        """Ask again later; the coordinator may have gone on without the lender by then."""
        self.traffic.failed += 1
        node.asked, node.next_at = None, self._clock() + NODES_SECONDS
        self._lost(node)

    def _lost(self, node: _Node) -> None:
        if node.name is not None:
            self._absent.add(node.name)
