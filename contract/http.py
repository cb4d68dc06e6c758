"""The bodies of requests and responses, declared once for the server and the parties.

The parties build their requests from these models, and the server refuses a request with other
fields. A party parses every response with these models, so that nothing from a server is used
unchecked. Fields added by a later server are ignored; fields that an earlier server does not send
have defaults.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from engines.interface import DECIDE, SIGN_OF
from utils.witness_list import MOST_WITNESSES

RunStatus = Literal["idle", "queued", "running", "done", "failed", "cancelled"]
RunPhase = Literal["loading_key", "evaluating"]
Stage = Literal["open", "ready", "running", "decided", "explained"]
Refusal = Literal["other_model", "messages_refused", "result_differs"]
"""Why a witness does not sign: it holds another model than the server; it cannot evaluate the
messages that the server gave it; or its evaluation gives another result than the server's."""

MAXIMUM_BODY = 64 * 1024
"""Bytes of one message between parties."""
MAXIMUM_TEXT = -(-MAXIMUM_BODY // 3) * 4
"""Characters of a message of MAXIMUM_BODY bytes in base64."""
MAXIMUM_POSTED = 8
"""Messages that one exchange may post."""
MAXIMUM_AWAITED = 64
"""Messages that one exchange may wait for."""
LONGEST_WAIT = 25.0
"""Seconds that a call for messages may wait."""
LONGEST_LINGER = 2.0
"""Seconds that an exchange may wait for more after the first news."""
MAXIMUM_PERMIT = 8 * 1024
"""Characters of one permit for a run (governance/permits.py)."""
MAXIMUM_PERMITS = 8
"""Permits that one request may bring."""
MAXIMUM_RECEIPT = 16 * 1024
"""Characters of one consent receipt as compact JSON in ASCII (governance/receipts.py)."""
MAXIMUM_RECEIPTS = 8
"""Receipts that one request may bring."""
MAXIMUM_RESULT = 256 * 1024
"""Bytes of a result that an exchange returns; larger ones are fetched by `POST /get_output`."""
LARGEST_NUMBER = 2**31 - 1
"""Largest number of a message: what its column holds in PostgreSQL."""
STEP_PATTERN = r"^[a-z][a-z_]{0,31}(:[a-z][a-z_]{0,15})?$"

_DATETIME: TypeAdapter[datetime] = TypeAdapter(datetime)


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return _DATETIME.dump_python(value, mode="json")
    return value


Moment = Annotated[str, BeforeValidator(_text), Field(json_schema_extra={"format": "date-time"})]
"""A date and time with time zone in ISO 8601; a `datetime` is converted."""


PartyName = Annotated[str, Field(max_length=256)]
Step = Annotated[str, Field(pattern=STEP_PATTERN, max_length=49)]
Number = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
PermitText = Annotated[str, Field(min_length=1, max_length=MAXIMUM_PERMIT)]


def _small(document: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(document, separators=(",", ":"))) > MAXIMUM_RECEIPT:
        raise ValueError(f"a receipt has at most {MAXIMUM_RECEIPT} characters")
    return document


ReceiptDocument = Annotated[dict[str, Any], AfterValidator(_small)]


class RequestBody(BaseModel):
    """Base class of all request bodies."""

    model_config = ConfigDict(extra="forbid")


class OpenRequest(RequestBody):
    """The parties that learn the decision, the explanation and the reasons, and the witnesses.

    If they are omitted, all parties learn the decision; of these, the first one and the owner of
    the explained column learn the explanation, and the first one the reasons; all witnesses check
    the results.
    """

    readers: Annotated[
        list[PartyName] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Names of the parties that learn the decision; all if null.",
        ),
    ] = None
    explanation_readers: Annotated[
        list[PartyName] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Names of those of them that learn the explanation; if null, the first "
            "party and the owner of the explained column.",
        ),
    ] = None
    reasons_readers: Annotated[
        list[PartyName] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Names of those of them that learn the reasons for a denial; if null, the "
            "first party. Only for a model that states reasons.",
        ),
    ] = None
    witnesses: Annotated[
        list[PartyName] | None,
        Field(
            max_length=MOST_WITNESSES,
            description="Names of the server's witnesses that check the results; all if null.",
        ),
    ] = None


class JoinRequest(RequestBody):
    """The party that joins and its join code.

    `scopes` limits the token to some of `send`, `run`, `read`, `relay` and `erase`; if it is
    omitted, the token has all of them.
    """

    party: Annotated[
        str, Field(max_length=256, description="The party's name in the public model.")
    ]
    code: Annotated[
        str, Field(max_length=256, repr=False, description="The party's join code, used once.")
    ]
    scopes: Annotated[
        list[Annotated[str, Field(max_length=16)]] | None,
        Field(min_length=1, max_length=8, description="The token's scopes; all if null."),
    ] = None
    permit_key: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="The public key (Ed25519, hexadecimal) that signs the party's permits. "
            "Without it, no program runs on the party's data.",
        ),
    ] = None
    model_sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="SHA-256 of the public model that the caller has loaded, as canonical "
            "JSON. If the server has another one, the party does not join.",
        ),
    ] = None


class ProgramForm(RequestBody):
    """An application and one of its programs."""

    client_id: Annotated[
        str, Field(max_length=256, description="The application's id: 32 hexadecimal digits.")
    ]
    program: Annotated[
        str, Field(max_length=256, description="The program: `decide`, `explain` or `reasons`.")
    ] = DECIDE


class MessageRequest(RequestBody):
    """A message for one step; a `receiver` of null means all parties."""

    step: Step
    receiver: Annotated[str | None, Field(max_length=256)] = None
    body: Annotated[str, Field(max_length=MAXIMUM_TEXT, repr=False, description="Base64.")]

    @classmethod
    def of(cls, step: str, receiver: str | None, body: bytes) -> Self:
        """Return the request that posts these bytes; raises ValidationError."""
        return cls(step=step, receiver=receiver, body=base64.b64encode(body).decode())

    def content(self) -> bytes:
        """Return the message's bytes; raises ValueError if `body` is not base64."""
        return base64.b64decode(self.body, validate=True)


class Awaited(RequestBody):
    """A message that the caller waits for."""

    sender: PartyName
    step: Step


class StatementRequest(RequestBody):
    """A witness's statement on a result: its signature, or the reason why it refuses to sign."""

    signature: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{128}$", description="Ed25519 signature, in hexadecimal."),
    ] = None
    refusal: Annotated[Refusal | None, Field(description="Why the witness does not sign.")] = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.signature is None) == (self.refusal is None):
            raise ValueError("send either a signature or a refusal")
        return self


class PermitsRequest(RequestBody):
    """Permits of one or more parties for programs of the application, as signed tokens.

    `receipts` are consent receipts of the same parties, one for each program, each signed with the
    key of its party's permits. The log's entry of the run names their digests. The server keeps
    them for decision files until the application is erased.
    """

    permits: Annotated[list[PermitText], Field(min_length=1, max_length=MAXIMUM_PERMITS)]
    receipts: Annotated[list[ReceiptDocument], Field(max_length=MAXIMUM_RECEIPTS)] = []


class ExchangeRequest(RequestBody):
    """Messages to post, permits to give, a program to run, and conditions to wait for.

    The program `run` is queued after that, as by `POST /applications/{client_id}/runs/{program}`.
    If `wait` is 0, the response is immediate. Otherwise it is sent, within `wait` seconds, once
    all messages of `until` have arrived, all parties have filled their slots named `until_filled`,
    and the run of the program `until_ended` has ended, with the statements of all witnesses on its
    result. It is also sent `linger` seconds after any other change (a message was posted or has
    arrived, or the state's tag differs from `seen`), and at once if the party itself has posted a
    message by another call, since it may now wait for something else. With `with_result`, it has
    the result of `until_ended`, if there is one by then.
    """

    messages: Annotated[list[MessageRequest], Field(max_length=MAXIMUM_POSTED)] = []
    after: Number = 0
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0.0
    seen: Annotated[str, Field(max_length=64)] = ""
    until: Annotated[list[Awaited], Field(max_length=MAXIMUM_AWAITED)] = []
    until_filled: Annotated[str | None, Field(max_length=256)] = None
    until_ended: Annotated[str | None, Field(max_length=256)] = None
    with_result: bool = False
    linger: Annotated[float, Field(ge=0, le=LONGEST_LINGER)] = 0.0
    permits: Annotated[list[PermitText], Field(max_length=MAXIMUM_PERMITS)] = []
    receipts: Annotated[list[ReceiptDocument], Field(max_length=MAXIMUM_RECEIPTS)] = []
    run: Annotated[
        str | None, Field(max_length=256, description="The program to queue; none if null.")
    ] = None


class Body(BaseModel):
    """Base class of all response bodies."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_serialization_defaults_required=True
    )


class Witness(Body):
    """A witness: its name, for people, and its public key (Ed25519), in hexadecimal."""

    name: str = Field(max_length=64)
    key: str = Field(pattern=r"^[0-9a-f]{64}$")


Readers = Annotated[tuple[str, ...], Field(description="The parties that learn the decision.")]
ExplanationReaders = Annotated[
    tuple[str, ...], Field(description="Those of them that learn the explanation.")
]
ReasonsReaders = Annotated[
    tuple[str, ...],
    Field(description="Those of them that learn the reasons; empty if the model states none."),
]
NamedWitnesses = Annotated[
    tuple[Witness, ...],
    Field(max_length=MOST_WITNESSES, description="The witnesses that check the results."),
]


class Witnesses(Body):
    """The witnesses that the server knows."""

    items: tuple[Witness, ...] = Field(max_length=MOST_WITNESSES)


class Opened(Body):
    """A new application: its id, and each party's join code, which works once.

    `watch_token` gives access to the state, the events and the traffic only. `readers` are the
    parties that learn the result, `witnesses` those that check it.
    """

    client_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    expires_at: Moment
    join_codes: dict[str, str] = Field(repr=False)
    watch_token: str = Field(default="", repr=False)
    readers: tuple[str, ...] = ()
    explanation_readers: tuple[str, ...] = ()
    reasons_readers: tuple[str, ...] = ()
    witnesses: tuple[Witness, ...] = Field(default=(), max_length=MOST_WITNESSES)


class Joined(Body):
    """The party's bearer token for this application, its scopes, and the time it expires.

    All fields except `token` are null or empty if an earlier server does not send them.
    """

    token: str = Field(repr=False)
    scopes: tuple[str, ...] = ()
    expires_at: AwareDatetime | None = None
    readers: Readers = ()
    explanation_readers: ExplanationReaders = ()
    reasons_readers: ReasonsReaders = ()
    witnesses: NamedWitnesses = ()
    application_created_at: AwareDatetime | None = None
    application_expires_at: AwareDatetime | None = Field(
        default=None, description="Time at which the application expires and is erased."
    )


class SlotState(Body):
    """A slot of an application; `received_bytes` and `sha256` are null until it is filled."""

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    received_bytes: int | None = None
    sha256: str | None = None


class WitnessStatement(Body):
    """A witness's signature of a result (64 bytes, hexadecimal), or its reason to refuse it."""

    signature: str | None = Field(default=None, max_length=128)
    refusal: str | None = Field(default=None, max_length=40)


class ProgramState(Body):
    """The state of a program; `seconds` is the duration of the evaluation alone.

    An explanation may run the model several times, once for each bin. `phase`, `runs` and
    `remaining_seconds` are given by the server that evaluates the program, while it does.
    `error_code` is a code of utils/errors.py. A failed or cancelled program may be run again.
    """

    status: RunStatus
    job: str | None = Field(default=None, description="The id of the latest run.")
    attempts: int = 0
    progress: float = Field(default=0.0, ge=0, le=1)
    phase: RunPhase | None = None
    runs: int = Field(default=1, ge=1, description="How often the program runs the model.")
    remaining_seconds: int | None = Field(
        default=None, description="An estimate of the time until the evaluation ends."
    )
    queued_at: Moment | None = None
    deadline: Moment | None = Field(
        default=None, description="Time at which a queued run is abandoned."
    )
    seconds: float | None = None
    loading_seconds: float | None = Field(
        default=None,
        description="Time that loading the evaluation key took before the evaluation.",
    )
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    statements: dict[str, WitnessStatement] = Field(
        default={}, description="What the witnesses say about the result, by public key."
    )

    @property
    def under_way(self) -> bool:
        """Return True if the run is queued or running."""
        return self.status in ("queued", "running")

    @property
    def run_number(self) -> int:
        """Return which of its `runs` of the model a running program is in, from 1."""
        return min(self.runs, 1 + int(self.progress * self.runs + 1e-6))

    @property
    def ended(self) -> bool:
        """Return True if the run is done, or ended without a result."""
        return self.status == "done" or self.stopped

    @property
    def stopped(self) -> bool:
        """Return True if the run ended without a result."""
        return self.status in ("failed", "cancelled")


ReviewStage = Annotated[
    Literal["none", "asked", "under_review", "upheld", "changed", "approved", "denied"],
    Field(description="The stage of the review of the decision by a person."),
]


class ApplicationState(Body):
    """The state of an application, as every party sees it."""

    client_id: str
    state: Stage
    created_at: Moment
    expires_at: Moment
    joined: tuple[str, ...]
    readers: Readers = ()
    explanation_readers: ExplanationReaders = ()
    reasons_readers: ReasonsReaders = ()
    witnesses: NamedWitnesses = ()
    review: ReviewStage = "none"
    slots: tuple[SlotState, ...]
    programs: dict[str, ProgramState]
    missing: dict[str, tuple[str, ...]] = Field(
        description="For each program, its empty slots, such as `bank: encrypted_inputs`."
    )
    unpermitted: dict[str, tuple[str, ...]] = Field(
        default={},
        description="For each program that has not run, the parties without a valid permit for it.",
    )

    @property
    def under_way(self) -> tuple[str, ProgramState] | None:
        """The queued or running program, or None."""
        return next((item for item in self.programs.items() if item[1].under_way), None)

    def run_of(self, program: str) -> ProgramState | None:
        """Return the state of a program's run or, once it is done, of its comparison's."""
        run, comparison = self.programs.get(program), self.programs.get(SIGN_OF.get(program, ""))
        return comparison if comparison and run and run.status == "done" else run

    @property
    def stopped(self) -> tuple[str, ProgramState] | None:
        """The program whose run failed or was cancelled, or None."""
        return next((item for item in self.programs.items() if item[1].stopped), None)

    def with_slot(self, party: str, file_name: str, size: int, sha256: str) -> ApplicationState:
        """Return this state updated with an upload that the server has confirmed."""
        found = (party, file_name)
        received = {"received_bytes": size, "sha256": sha256}
        slots = tuple(
            slot.model_copy(update=received) if (slot.party, slot.file_name) == found else slot
            for slot in self.slots
        )
        name = f"{party}: {file_name}"
        missing = {p: tuple(m for m in each if m != name) for p, each in self.missing.items()}
        stage = "ready" if self.state == "open" and not missing.get(DECIDE) else self.state
        return self.model_copy(update={"slots": slots, "missing": missing, "state": stage})

    def with_program(self, program: str, run: ProgramState) -> ApplicationState:
        """Return this state updated with a program's newer state."""
        stage = "running" if run.under_way else self.state
        programs = {**self.programs, program: run}
        return self.model_copy(update={"programs": programs, "state": stage})

    def slots_of(self, file_name: str | None) -> tuple[SlotState, ...]:
        """Return the slots of this name, of all parties."""
        return tuple(slot for slot in self.slots if slot.file_name == file_name)

    def sha256_of(self, party: str, file_name: str) -> str | None:
        """Return the digest of a slot's content; None if the slot is empty or does not exist."""
        for slot in self.slots:
            if (slot.party, slot.file_name) == (party, file_name):
                return slot.sha256
        return None


class Posted(Body):
    """The number of a stored message."""

    number: int


class Relayed(Body):
    """A message between parties, unchanged; a `receiver` of null means all parties."""

    number: int
    sender: str
    receiver: str | None
    step: str
    bytes: int = 0
    sent_at: Moment = ""
    body: Base64Bytes = Field(description="Base64 (RFC 4648).", repr=False)


class RelayedMessages(Body):
    """New messages, and the application's state; `tag` changes whenever the state does."""

    messages: tuple[Relayed, ...]
    state: ApplicationState
    tag: str


class Exchanged(Body):
    """The numbers of the posted messages, the new messages, and the application's state.

    `numbers` are in the order of the request. Pass `after` in the next exchange. `tag` changes
    whenever the state does. `result` is the sealed result that was asked for; it is empty if there
    is none yet, or if it is larger than 256 KiB.
    """

    numbers: tuple[int, ...]
    messages: tuple[Relayed, ...]
    after: Number
    state: ApplicationState
    tag: str
    result: Base64Bytes = Field(default=b"", description="Base64 (RFC 4648).", repr=False)


class TrafficItem(Body):
    """One item of an application's traffic, without its content.

    `sender` and `receiver` are parties, `server` or the name of a witness; a `receiver` of null
    means all parties. `what` is a step of the parties' protocol, the name of a slot,
    `run <program>` (requested), `ran <program>`, `failed <program>`, `result of <program>`
    (fetched), or `signed <program>` or `refused <program>` by a witness.
    """

    number: int
    at: Moment
    sender: str
    receiver: str | None
    what: str
    bytes: int


class Traffic(Body):
    """An application's traffic, oldest first."""

    items: tuple[TrafficItem, ...]


class WitnessMessage(Body):
    """A message that a witness fetches for a task."""

    party: str = Field(max_length=64)
    file_name: str = Field(max_length=64)
    bytes: int = Field(ge=0)


class WitnessTask(Body):
    """A run on which a witness has not made its statement yet.

    While it is not `done`, the server is evaluating, and the witness can do the same.
    """

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    client_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    program: str = Field(max_length=40)
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    messages: tuple[WitnessMessage, ...] = Field(max_length=1024)
    done: bool = Field(description="True if the result is there.")


class WitnessTasks(Body):
    """A witness's open tasks: finished runs, the oldest first, and then active ones."""

    items: tuple[WitnessTask, ...] = Field(max_length=64)
    tag: str = Field(max_length=64, description="Differs for different items.")


class WitnessedResult(Body):
    """The sealed result of a task, and the seed of the server's re-randomisation."""

    result: Base64Bytes = Field(description="Base64 (RFC 4648).", repr=False)
    seed: Base64Bytes = Field(description="Base64, 32 bytes.", repr=False)

    @classmethod
    def of(cls, result: bytes, seed: bytes) -> Self:
        """Return the response with these bytes."""
        return cls(result=base64.b64encode(result), seed=base64.b64encode(seed))


class Receipt(Body):
    """Receipt for a stored upload; `sha256` is the digest of the received bytes."""

    client_id: str
    client_type: str
    file_name: str
    bytes: int
    sha256: str
    state: Stage = "open"


class Health(Body):
    """Readiness of the server: `ok`, or `starting` while the engine loads."""

    status: Literal["ok", "starting"]
    engine: str = ""
    model_version: str | None = None


class Problem(Body):
    """Problem details (RFC 9457); `type` is `urn:triseal:error:<code>`."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""


def moment(seconds: float) -> datetime:
    """Convert seconds since 1970 to a `datetime` in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
