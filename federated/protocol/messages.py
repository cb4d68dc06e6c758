"""The messages of a training, one class per step; JSON in the sealed body.

    lender → all            hello                             (its keys)
    coordinator → all       hello (with the plan), start      (the lenders of the training)
    lender → coordinator    ready, or refused
    coordinator → all       ask                               (new results, and the next step)
    lender → coordinator    uploaded                          (its masked sums, signed)
    coordinator → all       all_uploaded                      (the signatures of all)
    lender → coordinator    revealed                          (the seed of its self mask)
    coordinator → all       finished, or cancelled

If a lender disappears between `uploaded` and `revealed`, the coordinator sends the others their
shares of its seed (`recover`), and they reveal them (`recovered`). A lender that was away says
which results it has (`back`), and is sent the others (`ask` to it alone, after `earlier` if they
are too many for one message).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contract.trainings import MemberName
from federated.aggregation.group import MOST_LENDERS
from federated.aggregation.statement import Step
from federated.aggregation.upload import LARGEST_UPLOAD
from federated.boosting.trees import Splits
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from utils.errors import MalformedMessage

Roster = Annotated[tuple[MemberName, ...], Field(min_length=1, max_length=MOST_LENDERS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RawKey = Annotated[bytes, Field(min_length=32, max_length=32)]
Seed = Annotated[bytes, Field(min_length=16, max_length=64)]
Signature = Annotated[bytes, Field(min_length=64, max_length=64)]
Share = Annotated[bytes, Field(min_length=16, max_length=256)]
Count = Annotated[int, Field(ge=0, le=1 << 20)]

MOST_RESULTS = 2048
"""Results of a training: at most one for each level of each tree, and a few others."""


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Counted(_Message):
    """The result of the secure count: the bits by which trees may split."""

    kind: Literal["counted"] = "counted"
    usable: UsableBits


class Grown(_Message):
    """The result of one level of a tree: its splits, and the lenders whose sums were added.

    No split ends the tree. At level 0, `auc` is the validation AUC of the trees before this one.
    """

    kind: Literal["grown"] = "grown"
    lenders: Roster
    splits: Splits
    auc: float | None = Field(default=None, ge=0, le=1)


class Ended(_Message):
    """A tree that ends at the level it has reached, since lenders of its roster are gone."""

    kind: Literal["ended"] = "ended"
    tree: int = Field(ge=0, le=300)
    lost: Roster


class Stopped(_Message):
    """The end of the training: the number of trees that are kept, and their validation AUC.

    `last_auc` is that of all trees, including those that are not kept, on the validation rows of
    `scored`: the lenders of the last step, or none if no AUC was opened after the last tree.
    """

    kind: Literal["stopped"] = "stopped"
    trees: int = Field(ge=0, le=300)
    scored: Annotated[tuple[MemberName, ...], Field(max_length=MOST_LENDERS)] = ()
    auc: float | None = Field(default=None, ge=0, le=1)
    last_auc: float | None = Field(default=None, ge=0, le=1)


Result: TypeAlias = Annotated[Counted | Grown | Ended | Stopped, Field(discriminator="kind")]
Results = Annotated[tuple[Result, ...], Field(max_length=MOST_RESULTS)]


class Hello(_Message):
    """A member's fresh keys, vouched for by its identity key (parties/joint/identities.py)."""

    kind: Literal["hello"] = "hello"
    name: MemberName
    signing_key: RawKey
    exchange_key: RawKey
    plan: Plan | None = None
    identity_key: RawKey
    identity_signature: Signature = Field(repr=False)


class Start(_Message):
    """The lenders of the training, with the SHA-256 of each member's sealed hello."""

    kind: Literal["start"] = "start"
    hellos: dict[str, Digest] = Field(min_length=1, max_length=MOST_LENDERS + 1)


class Ready(_Message):
    """Consent of a lender to take part with the plan of this digest."""

    kind: Literal["ready"] = "ready"
    plan: Digest


class Refused(_Message):
    """The reason for which a lender does not go on, for the coordinator's page."""

    kind: Literal["refused"] = "refused"
    code: str = Field(max_length=64)
    reason: str = Field(max_length=500)


class Ask(_Message):
    """Results from number `first` on, and the step for which the roster uploads its sums."""

    kind: Literal["ask"] = "ask"
    first: Count
    results: Results = ()
    step: Step
    roster: Roster


class Earlier(_Message):
    """Results from number `first` on that the receiver has missed; the others follow."""

    kind: Literal["earlier"] = "earlier"
    first: Count
    results: Results


class Uploaded(_Message):
    """A lender's masked sums of a step, as federated/aggregation/upload.py writes them."""

    kind: Literal["uploaded"] = "uploaded"
    upload: bytes = Field(max_length=LARGEST_UPLOAD, repr=False)


class AllUploaded(_Message):
    """The signed statements of the whole roster, by lender."""

    kind: Literal["all_uploaded"] = "all_uploaded"
    step: Step
    signatures: dict[MemberName, Signature] = Field(max_length=MOST_LENDERS, repr=False)


class Revealed(_Message):
    """The seed of the sender's self mask of a step."""

    kind: Literal["revealed"] = "revealed"
    step: Step
    seed: Seed = Field(repr=False)


class Recover(_Message):
    """The receiver's sealed shares of the seeds of lenders that have disappeared, by lender."""

    kind: Literal["recover"] = "recover"
    step: Step
    shares: dict[MemberName, Share] = Field(max_length=MOST_LENDERS, repr=False)


class Recovered(_Message):
    """The sender's shares of the seeds of lenders that have disappeared, by lender."""

    kind: Literal["recovered"] = "recovered"
    step: Step
    shares: dict[MemberName, Share] = Field(max_length=MOST_LENDERS, repr=False)


class Back(_Message):
    """A lender that was away, or has just begun, and has this many results."""

    kind: Literal["back"] = "back"
    results: Count


class Finished(_Message):
    """The last results, from number `first` on; the last one is Stopped."""

    kind: Literal["finished"] = "finished"
    first: Count
    results: Results


class Cancelled(_Message):
    """The end of a training that will not be finished."""

    kind: Literal["cancelled"] = "cancelled"
    reason: str = Field(max_length=500)


FromCoordinator: TypeAlias = Annotated[
    Hello | Start | Earlier | Ask | AllUploaded | Recover | Finished | Cancelled,
    Field(discriminator="kind"),
]
FromLender: TypeAlias = Annotated[
    Hello | Ready | Refused | Uploaded | Revealed | Recovered | Back, Field(discriminator="kind")
]
_COORDINATOR: TypeAdapter[FromCoordinator] = TypeAdapter(FromCoordinator)
_LENDER: TypeAdapter[FromLender] = TypeAdapter(FromLender)


def encode(message: BaseModel) -> bytes:
    """Return the message as JSON."""
    return message.model_dump_json().encode()


def decode_from_coordinator(payload: bytes) -> FromCoordinator:
    """Return a message of the coordinator; raises MalformedMessage."""
    try:
        return _COORDINATOR.validate_json(payload)
    except ValidationError as error:
        raise _unreadable("The coordinator") from error


def decode_from_lender(lender: str, payload: bytes) -> FromLender:
    """Return a message of a lender; raises MalformedMessage, which names the lender."""
    try:
        return _LENDER.validate_json(payload)
    except ValidationError as error:
        raise _unreadable(f"The lender {lender}") from error


def _unreadable(sender: str) -> MalformedMessage:
    return MalformedMessage(
        f"{sender} sent a message that cannot be read: it runs another version, or is faulty. Use "
        "the same release everywhere."
    )
