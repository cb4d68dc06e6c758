"""The calls that an agent makes to whatever relays its messages.

A server does it over HTTP (parties/trainings_client.py), or Flower's SuperLink (federated/flower).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.trainings import TrainingHosted, TrainingJoined
from parties.trainings_client import TrainingNews, TrainingPost


class Transport(Protocol):
    """Relays a member's messages; the methods are those of TrainingsClient."""

    def exchange(
        self,
        training_id: str,
        token: str,
        posts: Sequence[TrainingPost] = (),
        after: int = 0,
        wait: float = 0.0,
        least: int = 1,
        linger: float = ...,
    ) -> TrainingNews: ...


class LenderTransport(Transport, Protocol):
    """A transport by which a lender joins."""

    def join_training(self, training_id: str, member: str, code: str) -> TrainingJoined: ...


class CoordinatorTransport(Transport, Protocol):
    """A transport by which a coordinator hosts and closes trainings."""

    def host_training(
        self, key: Ed25519PrivateKey, members: Sequence[str], hours: float = 24.0
    ) -> TrainingHosted: ...

    def close_training(self, training_id: str, token: str) -> None: ...
