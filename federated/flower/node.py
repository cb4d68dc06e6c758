"""A lender's node: takes one delivery, and returns the lender's messages.

A node is a new process for each message, or one of many lenders in a simulation's process, so that
all it knows is in the lender's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from contract.trainings import MOST_READ, TrainingJoined
from features.encoding import Layout
from features.records import read_records
from features.schema import Schema
from federated.agents.code_files import read_code
from federated.agents.lender_agent import LenderAgent, Own
from federated.agents.limits import LenderLimits
from federated.agents.options import identity_of, pins_of
from federated.agents.posting import fitting
from federated.flower.messages import LARGEST_DELIVERY, Delivery, Post, Reply
from federated.flower.options import NodeOptions
from parties.joint.codes import JoinCode
from parties.trainings_client import TrainingNews, TrainingPost, TrainingReceived
from settings import ROOT
from utils.atomic_files import write_atomic
from utils.errors import InvalidRequest

TRAININGS = "trainings"
"""Folder of the trainings, by id, in a lender's folder."""
REFUSED = "refused.txt"
"""File with the reason for which the lender takes no further part in a training."""


def reply_to(delivery: Delivery, options: NodeOptions) -> Reply:
    """Take a delivery and save the lender's state; returns its messages.

    A lender without a code for this training yet replies without its name. Raises InvalidRequest
    and TrainingDataInvalid for a wrong configuration or data file, and the errors of the folder.
    """
    home = options.folder / TRAININGS / delivery.training_id
    code = None
    if not home.exists():
        code = _code_for(delivery, options)
        if code is None:
            return Reply()
    with closing(_agent(home, delivery, options, code)) as agent:
        if (home / REFUSED).exists():
            # The last message, with the reason for the coordinator, has not reached it perhaps.
            posts = agent.unconfirmed(delivery.confirmed)
        else:
            letters = [
                TrainingReceived(one.id, one.sender, one.to, one.number, one.body)
                for one in delivery.letters
            ]
            posts = agent.deliver(letters, delivery.confirmed, delivery.announce)
            view = agent.view()
            if view.state == "failed":
                write_atomic(home / REFUSED, f"{view.reason}\n".encode())
        return Reply(
            name=options.name,
            code=agent.token,
            after=max([agent.after, *(one.id for one in delivery.letters)]),
            posts=tuple(
                Post(number=one.number, to=one.to, body=one.body)
                for one in fitting(posts, MOST_READ, LARGEST_DELIVERY)
            ),
        )


def _code_for(delivery: Delivery, options: NodeOptions) -> JoinCode | None:
    """Return the lender's code if it is there and for this training."""
    path = ROOT / options.code_file
    if not path.exists():
        return None
    code = JoinCode.parse(read_code(path))
    return code if code.client_id == delivery.training_id else None


def _agent(
    home: Path, delivery: Delivery, options: NodeOptions, code: JoinCode | None
) -> LenderAgent:
    layout = Layout(Schema.load(ROOT / options.schema_))
    own = Own(
        layout,
        read_records(ROOT / options.data, layout, options.target),
        identity_of(options.folder),
        pins_of(options.trust_file),
        LenderLimits(options.least_rows, noise=options.require_noise),
    )
    transport = _OneDelivery(delivery)
    agent = LenderAgent.resume(home, transport, own)
    if agent is not None:
        return agent
    code = code or _code_for(delivery, options)  # the process ended before it had joined
    if code is None:
        raise InvalidRequest(f"{home} has no training, and there is no code for it.")
    return LenderAgent.join(home, transport, options.name, str(code), own)


class _OneDelivery:
    """The transport of a lender that is handed its messages."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def join_training(self, training_id: str, member: str, code: str) -> TrainingJoined:
        """Join at once: the relay checks the code in each reply."""
        members = sorted(self._delivery.members)
        if member not in members:
            raise InvalidRequest(
                f"The training has no lender {member}: it was hosted for {', '.join(members)}. "
                "Correct the name in the node's configuration, or ask the coordinator."
            )
        return TrainingJoined(token=code, members=members, expires_at="")

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
        """Raise RuntimeError: a node is handed its messages by LenderAgent.deliver."""
        raise RuntimeError("a node does not ask for messages")
