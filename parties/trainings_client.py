"""The calls about trainings of several lenders, for the coordinator and the members.

An exchange is safe to repeat: it is retried for a few seconds if the server is busy or the
connection is lost (parties/retrying.py). Hosting and joining are not: their responses are shown
once.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.trainings import (
    LARGEST_POST,
    LARGEST_READ,
    LARGEST_TRAINING_MESSAGE,
    LONGEST_TRAINING_WAIT,
    MOST_READ,
    TrainingExchanged,
    TrainingExchangeRequest,
    TrainingFacts,
    TrainingHosted,
    TrainingJoined,
    TrainingJoinRequest,
    TrainingMessage,
    TrainingRequest,
    TrainingState,
)
from parties.bounded_http import ANSWER_BYTES, BoundedHttp
from parties.retrying import BRIEF_SECONDS, Told, ask_again, untold
from parties.valid_requests import valid
from utils.errors import InvalidRequest, MalformedMessage
from utils.signed_requests import OWNER, authorization

SHORT_SECONDS = 30.0
"""Time limit for a response, in addition to a requested wait."""
EXCHANGE_BYTES = (LARGEST_READ + LARGEST_TRAINING_MESSAGE) * 4 // 3 + MOST_READ * 512 + 64 * 1024
"""Largest response to an exchange."""


@dataclass(frozen=True)
class TrainingPost:
    """A message to post; `to` is None if it goes to all other members."""

    number: int
    to: str | None
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class TrainingReceived:
    """A message of another member; `to` is None if it went to all."""

    id: int
    sender: str
    to: str | None
    number: int
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class TrainingNews:
    """The response to an exchange: contract.trainings.TrainingExchanged, with bytes."""

    messages: list[TrainingReceived]
    after: int
    state: TrainingState
    more: bool
    dropped: bool


class TrainingsClient(BoundedHttp):
    """A client of the server at `url` for trainings; safe to share between threads.

    Connections are kept open between calls. Every method raises ServerUnreachable and the errors
    that the server reports, and InvalidRequest before the call if a value is outside the contract's
    bounds. All calls about an existing training raise UnknownName once it is gone.
    """

    def host_training(
        self, key: Ed25519PrivateKey, members: Sequence[str], hours: float = 24.0
    ) -> TrainingHosted:
        """Host a training of these members; the call is signed with the coordinator's key."""
        with valid():
            request = TrainingRequest(
                members=list(members), hours=hours, nonce=secrets.token_hex(16)
            )
        content = request.model_dump_json().encode()
        headers = {
            "Authorization": authorization(key, "POST", "/trainings", content, time.time(), OWNER),
            "Content-Type": "application/json",
        }
        more = {"content": content, "headers": headers, "timeout": self._short}
        hosted = self._answer(TrainingHosted, "POST", "/trainings", **more)
        _path(hosted.training_id)
        if set(hosted.codes) != set(members):
            raise self._not_triseal()
        return hosted

    def join_training(self, training_id: str, member: str, code: str) -> TrainingJoined:
        """Join a training as the member of this name; its code works until it has posted."""
        with valid():
            body = TrainingJoinRequest(member=member, code=code).model_dump()
        path = f"{_path(training_id)}/join"
        return self._answer(TrainingJoined, "POST", path, json=body, timeout=self._short)

    def training(self, training_id: str, token: str) -> TrainingFacts:
        """Return the state of a training, and its members."""
        more: dict[str, Any] = {"token": token, "timeout": self._short}
        path = _path(training_id)
        return ask_again(lambda: self._answer(TrainingFacts, "GET", path, **more))

    def close_training(self, training_id: str, token: str) -> None:
        """Close a training for all, with the coordinator's token; closing again is harmless."""
        path = _path(training_id)
        more: dict[str, Any] = {"token": token, "timeout": self._short}
        ask_again(lambda: self._bytes("DELETE", path, ANSWER_BYTES, **more))

    def exchange(
        self,
        training_id: str,
        token: str,
        posts: Sequence[TrainingPost] = (),
        after: int = 0,
        wait: float = 0.0,
        least: int = 1,
        linger: float = LONGEST_TRAINING_WAIT,
        patience: float = BRIEF_SECONDS,
        told: Told = untold,
    ) -> TrainingNews:
        """Post messages, all or none, and return those that have come after the id `after`.

        `after` is that of the last response that the caller has stored: the server removes the
        messages up to it. The server waits up to `wait` seconds (at most 25) for `least` messages,
        but no longer than `linger` seconds after the first one. Posting the same again is harmless.
        The call is retried for `patience` seconds; see ask_again for `told`. Raises OutOfStep,
        AlreadySent, and MalformedMessage if the response does not fit the call.
        """
        path = f"{_path(training_id)}/exchange"
        content = _content(posts, after, wait, least, linger)
        more = {
            "token": token,
            "content": content,
            "headers": {"Content-Type": "application/json"},
            "timeout": wait + SHORT_SECONDS,
        }
        body = ask_again(lambda: self._bytes("POST", path, EXCHANGE_BYTES, **more), patience, told)
        found = self._parse(TrainingExchanged, body)
        news = self._opened(found)
        ids = [message.id for message in news.messages]
        if (
            found.numbers != [one.number for one in posts]
            or len(ids) > MOST_READ
            or any(a >= b for a, b in zip([after, *ids], [*ids, found.after + 1], strict=True))
        ):
            raise MalformedMessage(
                f"The server at {self.url} changed the order of the training's messages, or did "
                "not store all that were posted. Exchange again; if this persists, host a new "
                "training."
            )
        return news

    def _opened(self, found: TrainingExchanged) -> TrainingNews:
        return TrainingNews(
            [self._received(message) for message in found.messages],
            found.after,
            found.state,
            found.more,
            found.dropped,
        )

    def _received(self, message: TrainingMessage) -> TrainingReceived:
        try:
            body = base64.b64decode(message.body, validate=True)
        except (binascii.Error, ValueError):
            body = b""
        if not 0 < len(body) <= LARGEST_TRAINING_MESSAGE:
            raise MalformedMessage(
                f"The server at {self.url} sent a message of a training that is empty, too large "
                "or not base64. Exchange again; if this persists, host a new training."
            )
        return TrainingReceived(message.id, message.sender, message.to, message.number, body)

    @property
    def _short(self) -> float:
        return min(self.timeout, SHORT_SECONDS)


def _content(
    posts: Sequence[TrainingPost], after: int, wait: float, least: int, linger: float
) -> bytes:
    """Return the body of an exchange; raises InvalidRequest."""
    for one in posts:
        if not 0 < len(one.body) <= LARGEST_TRAINING_MESSAGE:
            raise InvalidRequest(f"A message has 1 to {LARGEST_TRAINING_MESSAGE} bytes.")
    if sum(len(one.body) for one in posts) > LARGEST_POST:
        raise InvalidRequest(f"The messages of one call have at most {LARGEST_POST} bytes.")
    messages = [
        {"number": one.number, "to": one.to, "body": base64.b64encode(one.body).decode()}
        for one in posts
    ]
    request = {"after": after, "wait": wait, "least": least, "linger": linger}
    with valid():
        checked = TrainingExchangeRequest.model_validate({**request, "messages": messages})
    return checked.model_dump_json().encode()


def _path(training_id: str) -> str:
    """Return the path of a training; raises InvalidRequest unless the id is of the right form."""
    if len(training_id) != 32 or not set(training_id) <= set("0123456789abcdef"):
        raise InvalidRequest("A training's id has 32 hexadecimal digits; check the code.")
    return f"/trainings/{training_id}"
