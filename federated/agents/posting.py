"""The exchange of a member's sealed messages with the server, over and over."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from contract.runs import LARGEST_POST, MOST_POSTED
from federated.agents.membership import Membership, Pending
from parties.runs_client import TrainingPost, TrainingsClient
from utils.errors import MessageOutOfOrder, NotAuthentic


class Posting:
    """Posts what is pending and opens what arrives; counts the bytes in both directions."""

    def __init__(self, client: TrainingsClient, membership: Membership) -> None:
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

    def exchange(self, wait: float, least: int = 1) -> list[tuple[str, BaseModel | None]]:
        """Post pending messages, wait for others, and return them with their senders.

        Those that one call cannot take stay pending, and nothing is waited for then.

        A hello or a start is returned as None, since the membership has taken it. Messages that
        were not sealed by their sender for this place are ignored. The caller saves the member's
        state before the next call, which confirms to the server that they have arrived. Raises the
        errors of TrainingsClient.exchange, and those of Membership.open for a message that its
        sender has made wrongly.
        """
        state = self._membership.state
        due = _fitting(state.pending)
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
        self.open, self.dropped, self.refused = news.state == "open", news.dropped, []
        found: list[tuple[str, BaseModel | None]] = []
        for message in news.messages:
            size = len(message.body)
            self.received[message.sender] = self.received.get(message.sender, 0) + size
            try:
                opened = self._membership.open(
                    message.sender, message.to, message.number, message.body
                )
            except (NotAuthentic, MessageOutOfOrder) as error:
                self.refused.append(error.message)
                continue
            found.append((message.sender, opened))
        state.after = news.after
        return found


def _fitting(pending: Sequence[Pending]) -> list[Pending]:
    """Return the first messages, as many as one call can post."""
    due: list[Pending] = []
    size = 0
    for one in pending[:MOST_POSTED]:
        size += len(one.body)
        if due and size > LARGEST_POST:
            break
        due.append(one)
    return due
