"""The bodies of requests and responses about trainings: one model from several lenders' rows.

The server relays sealed messages between the coordinator of a training and its members, which it
cannot read. Bodies are in base64.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.governance import Hex256
from contract.http import LARGEST_NUMBER, Body, Moment, RequestBody

COORDINATOR = "coordinator"
"""The name of a training's coordinator among its members."""
FEWEST_MEMBERS, MOST_MEMBERS = 3, 64
"""Members of a training, besides the coordinator."""
LARGEST_TRAINING_MESSAGE = 256 * 1024
"""Bytes of a message, before base64."""
MOST_POSTED, LARGEST_POST = 64, 8 << 20
"""Messages that one exchange may post, and their bytes before base64."""
MOST_READ, LARGEST_READ = 128, 8 << 20
"""Messages in one response, and their bytes before base64 if there is more than one."""
LONGEST_TRAINING_WAIT = 25.0
LARGEST_ID = 2**53 - 1
"""Largest id of a message: what every JSON reader keeps exact (RFC 8259, section 6)."""
MEMBER_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
"""The form of a party's name, as in schemas and trust files."""

TrainingState = Literal["open", "closed", "expired"]
Hex128 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
MemberName = Annotated[str, Field(pattern=MEMBER_PATTERN)]
MessageNumber = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
MessageId = Annotated[int, Field(ge=0, le=LARGEST_ID)]


class TrainingRequest(RequestBody):
    """A training to host. The call is signed with the coordinator's key.

    The header is `Authorization: Owner …`. `members` are the names of the lenders, 3 to 64
    different ones; `coordinator` is the name of the caller. `nonce` is random, so that two calls of
    one second differ: a signed call counts once.
    """

    members: Annotated[list[MemberName], Field(min_length=FEWEST_MEMBERS, max_length=MOST_MEMBERS)]
    hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    nonce: Hex128 | None = None

    @model_validator(mode="after")
    def _require_different(self) -> Self:
        if len({COORDINATOR, *self.members}) != len(self.members) + 1:
            raise ValueError(f"members have different names, and none is {COORDINATOR}")
        return self


class TrainingHosted(Body):
    """A new training: the coordinator's token, and each member's code."""

    training_id: str
    token: Annotated[str, Field(repr=False)]
    codes: Annotated[dict[str, str], Field(repr=False)]
    expires_at: Moment


class TrainingJoinRequest(RequestBody):
    """The name of a member, and its code."""

    member: MemberName
    code: Annotated[str, Field(min_length=1, max_length=200, repr=False)]


class TrainingJoined(Body):
    """The member's token, and the names of all members without the coordinator."""

    token: Annotated[str, Field(repr=False)]
    members: list[MemberName]
    expires_at: Moment


class TrainingMessageRequest(RequestBody):
    """A message to one member, or to all others if `to` is null, with its bytes in base64."""

    number: MessageNumber
    to: MemberName | None = None
    body: Annotated[str, Field(max_length=LARGEST_TRAINING_MESSAGE * 4 // 3 + 4, repr=False)]


class TrainingExchangeRequest(RequestBody):
    """Messages to post, and the messages to wait for."""

    messages: Annotated[
        list[TrainingMessageRequest],
        Field(
            max_length=MOST_POSTED,
            description="Messages to post, at most 64 and 8 MiB. Their numbers rise from message "
            "to message, also over calls; gaps are allowed.",
        ),
    ] = []  # noqa: RUF012 - copied by pydantic
    after: Annotated[
        MessageId,
        Field(
            description="`after` of the last response that has arrived, which confirms all that "
            "came with it; 0 at first."
        ),
    ] = 0
    wait: Annotated[
        float,
        Field(ge=0, le=LONGEST_TRAINING_WAIT, description="Longest wait for messages, in seconds."),
    ] = 0.0
    least: Annotated[
        int, Field(ge=1, le=MOST_READ, description="The number of messages that ends the wait.")
    ] = 1
    linger: Annotated[
        float,
        Field(
            ge=0,
            le=LONGEST_TRAINING_WAIT,
            description="Seconds after the first new message at which the wait ends with fewer "
            "than `least`.",
        ),
    ] = LONGEST_TRAINING_WAIT


class TrainingMessage(Body):
    """A message of another member, in base64; `to` is null if it is for all."""

    id: MessageId
    sender: MemberName
    to: MemberName | None
    number: MessageNumber
    body: Annotated[str, Field(repr=False)]


class TrainingExchanged(Body):
    """The numbers that the call has posted, and the new messages, oldest first.

    Send `after` with the next call. If `more` is true, there are further messages already. If
    `dropped` is true, messages after the caller's `after` were removed, because too many waited:
    ask the coordinator for the state of the training.
    """

    numbers: list[int]
    messages: list[TrainingMessage]
    after: MessageId
    state: TrainingState
    more: bool = False
    dropped: bool = False


class TrainingMember(Body):
    """A member of a training; `seen_at` is the time of its last call, null before the first."""

    name: MemberName
    joined: bool
    seen_at: Moment | None


class TrainingFacts(Body):
    """A training as its members see it, the coordinator first among them."""

    training_id: str
    state: TrainingState
    coordinator_key: Hex256
    members: list[TrainingMember]
    expires_at: Moment
