"""The exchange of a member's sealed messages with the server, over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel

from contract.trainings import LARGEST_POST, MOST_POSTED
from federated.agents.membership import Membership
from federated.agents.transport import Transport
from parties.trainings_client import TrainingPost, TrainingReceived
from utils.errors import MessageOutOfOrder, NotAuthentic, TrisealError


class _Sized(Protocol):
    @property
    def body(self) -> bytes: ...


_M = TypeVar("_M", bound=_Sized)


@dataclass(frozen=True)
class Arrived:
    """A message of another member, or the error of one that its sender has made wrongly.

    Both are None for a hello or a start, which the membership has taken.
    """

    sender: str
    message: BaseModel | None = None
    error: TrisealError | None = None


class Posting:
    """Posts what is pending and opens what arrives; counts the bytes in both directions."""

    def __init__(self, client: Transport, membership: Membership) -> None:
        self._client, self._membership = client, membership
        self.sent = 0
        """Bytes of sealed messages that were posted."""
        self.received: dict[str, int] = {}
        """Bytes of sealed messages that have arrived, by sender."""
        self.open = True
        """False once the server says that the training was closed or has expired."""
        self.dropped = False
        """True if the server dropped messages to this member before the last call."""
        self.refused: list[str] = []
        """Reasons for which messages of the last call were ignored."""

    def exchange(self, wait: float, least: int = 1) -> list[Arrived]:
        """Post pending messages, wait for others, and return them.

        Those that one call cannot take stay pending, and nothing is waited for then.

        Messages that were not sealed by their sender for this place are ignored. The caller saves
        the member's state before the next call, which confirms to the server that they have
        arrived. Raises the errors of the transport.
        """
        state = self._membership.state
        due = fitting(state.pending)
        posts = [TrainingPost(one.number, one.to, one.body) for one in due]
        news = self._client.exchange(
            state.training_id,
            state.token,
            posts,
            after=state.after,
            wait=wait if len(due) == len(state.pending) else 0.0,
            least=least,
            linger=wait,
        )
        self.sent += sum(len(one.body) for one in due)
        del state.pending[: len(due)]
        self.open, self.dropped = news.state == "open", news.dropped
        found = self.opened(news.messages)
        state.after = news.after
        return found

    def opened(self, messages: Sequence[TrainingReceived]) -> list[Arrived]:
        """Open messages of other members, in their order, as `exchange` does."""
        self.refused = []
        found: list[Arrived] = []
        for message in messages:
            sender = message.sender
            self.received[sender] = self.received.get(sender, 0) + len(message.body)
            try:
                opened = self._membership.open(sender, message.to, message.number, message.body)
                found.append(Arrived(sender, opened))
            except (NotAuthentic, MessageOutOfOrder) as error:
                self.refused.append(error.message)
            except TrisealError as error:
                found.append(Arrived(sender, error=error))
        return found


def fitting(
    messages: Sequence[_M], most: int = MOST_POSTED, largest: int = LARGEST_POST
) -> list[_M]:
    """Return the first messages, at most `most` and of `largest` bytes in all, but at least one."""
    found: list[_M] = []
    size = 0
    for one in messages[:most]:
        size += len(one.body)
        if found and size > largest:
            break
        found.append(one)
    return found
