"""A member's place in a training: its keys, the hellos of all members, and its sealed messages.

The first message of every member is its hello, sealed under the group secret of the codes; the
coordinator's also has the plan. The coordinator's second message, the start, names the lenders of
the training by the digests of their hellos. All later messages are sealed by the channel that
follows from exactly these hellos (parties/joint/channel.py). Each message is bound to its sender,
its receiver and its number; a receiver takes only rising numbers, so that none counts twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contract.trainings import COORDINATOR
from federated.aggregation.group import LEAST_LENDERS, Group
from federated.plan import Plan
from federated.protocol.messages import (
    FromCoordinator,
    FromLender,
    Hello,
    Start,
    decode_from_coordinator,
    decode_from_lender,
    encode,
)
from federated.protocol.transcript import run_digest
from parties.joint.channel import (
    KEY_BYTES,
    Channel,
    FirstWords,
    Identity,
    Place,
    PublicIdentity,
    signed,
    transcript,
)
from parties.joint.identities import IdentityKey, is_signed, shown
from utils.errors import (
    IdentityMismatch,
    MalformedMessage,
    MessageOutOfOrder,
    NotAuthentic,
    PartiesDisagree,
)

_DOMAIN = b"triseal identity of a training 1"
HELLO_NUMBER, START_NUMBER = 1, 2


class Pending(BaseModel):
    """A sealed message that the server may not have yet."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    number: int
    to: str | None
    body: Annotated[bytes, Field(repr=False)]


class MemberState(BaseModel):
    """All that a member needs to send and receive after a restart, secrets included.

    Once the training has started, `channel` has the keys of its messages, and the exchange key of
    `identity` is forgotten: from it and the opened seeds, all that a lender has sent could be
    unmasked.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    training_id: str
    me: str
    members: tuple[str, ...]
    token: str = Field(repr=False)
    identity: bytes = Field(repr=False)
    master: bytes = Field(repr=False)
    hellos: dict[str, bytes] = Field(default={}, repr=False)
    started: tuple[str, ...] = ()
    channel: dict[str, bytes] = Field(default={}, repr=False)
    after: int = 0
    number: int = 0
    received: dict[str, int] = {}
    pending: list[Pending] = Field(default=[], repr=False)


class Membership:
    """Seals, opens and numbers one member's messages; `pins` are identity keys by member.

    Not thread-safe.
    """

    def __init__(self, state: MemberState, key: IdentityKey, pins: Mapping[str, bytes]) -> None:
        self.state, self._key, self._pins = state, key, dict(pins)
        self._identity = Identity.from_bytes(state.identity)
        self._words = FirstWords(state.training_id, self._identity)
        self._channel: Channel | None = None
        self.hellos: dict[str, Hello] = {}
        for name, body in state.hellos.items():
            self.hellos[name] = self._opened_hello(name, body)
        if state.me in state.started:
            self._make_channel()

    @classmethod
    def fresh(
        cls,
        training_id: str,
        me: str,
        members: Iterable[str],
        token: str,
        group_secret: bytes,
        key: IdentityKey,
        pins: Mapping[str, bytes],
        plan: Plan | None = None,
    ) -> Membership:
        """Return a new member, whose hello is pending; `plan` is for the coordinator's."""
        identity = Identity.fresh(group_secret)
        state = MemberState(
            training_id=training_id,
            me=me,
            members=tuple(members),
            token=token,
            identity=identity.to_bytes(),
            master=os.urandom(KEY_BYTES),
        )
        member = cls(state, key, pins)
        public = identity.public
        unsigned = Hello(
            name=me,
            signing_key=public.signing,
            exchange_key=public.exchange,
            plan=plan,
            identity_key=key.public,
            identity_signature=bytes(64),
        )
        hello = key.signed(training_id, me, unsigned, _DOMAIN)
        body = member._words.seal(member._place(me, None, HELLO_NUMBER), encode(hello))
        state.number = HELLO_NUMBER
        state.hellos[me], member.hellos[me] = body, hello
        state.pending.append(Pending(number=HELLO_NUMBER, to=None, body=body))
        return member

    # ---- sending

    def start(self, lenders: Iterable[str]) -> None:
        """Make the coordinator's start message, for the lenders whose hellos have arrived."""
        names = (COORDINATOR, *sorted(lenders))
        hellos = {name: _digest(self.state.hellos[name]) for name in names}
        body = self._words.seal(
            self._place(self.state.me, None, START_NUMBER), encode(Start(hellos=hellos))
        )
        self.state.number = START_NUMBER
        self.state.pending.append(Pending(number=START_NUMBER, to=None, body=body))
        self.state.started = names
        self._make_channel()

    def queue(self, to: str | None, message: BaseModel) -> None:
        """Seal a message to a member, or to all for None, and keep it until it is posted."""
        number = self.state.number + 1
        body = self.channel.seal(self._place(self.state.me, to, number), encode(message))
        self.state.number = number
        self.state.pending.append(Pending(number=number, to=to, body=body))

    # ---- receiving

    def open(self, sender: str, to: str | None, number: int, body: bytes) -> BaseModel | None:
        """Return a message of another member, or None for its hello, which is kept.

        Raises NotAuthentic, MalformedMessage, MessageOutOfOrder, PartiesDisagree and
        IdentityMismatch.
        """
        state = self.state
        if sender == state.me or sender not in (COORDINATOR, *state.members):
            raise NotAuthentic(
                f"The server delivered a message of {sender[:64]!r}, who is no member."
            )
        if number <= state.received.get(sender, 0):
            raise MessageOutOfOrder(
                f"The server delivered message {number} of {sender} again, or out of order."
            )
        found: BaseModel | None = None
        if number == HELLO_NUMBER:
            hello = self._opened_hello(sender, body)
            state.hellos[sender], self.hellos[sender] = body, hello
        elif number == START_NUMBER and sender == COORDINATOR:
            self._started(body)
        else:
            payload = self.channel.open(self._place(sender, to, number), body)
            found = _decoded(sender, payload)
        state.received[sender] = number
        return found

    def _started(self, body: bytes) -> None:
        """Take the coordinator's start; raises PartiesDisagree if it differs from the hellos."""
        hello = self.hellos.get(COORDINATOR)
        if hello is None:
            raise PartiesDisagree(
                "The training starts, and the coordinator's first message has not arrived or "
                "cannot be opened with this lender's code. If the code was typed or cut, it cannot "
                "be used again: ask the coordinator for a new training."
            )
        place = self._place(COORDINATOR, None, START_NUMBER)
        payload, signature = self._words.open(place, body)
        signed(PublicIdentity(hello.signing_key, hello.exchange_key), place, payload, signature)
        start = decode_from_coordinator(payload)
        if not isinstance(start, Start):
            raise MalformedMessage("The coordinator's second message is not its start.")
        own = {
            name: _digest(self.state.hellos[name]) for name in start.hellos if name in self.hellos
        }
        if own != start.hellos or COORDINATOR not in own:
            unknown = sorted(set(start.hellos) - set(own)) or sorted(own)
            raise PartiesDisagree(
                f"The coordinator starts with {', '.join(unknown)}, whose keys this lender has "
                "refused or has not been shown as the coordinator was. The training is not safe: "
                "ask the other lenders, and start another one."
            )
        self.state.started = tuple(sorted(start.hellos))
        if self.state.me in start.hellos:
            self._make_channel()

    # ---- facts

    @property
    def channel(self) -> Channel:
        """The channel of the training; raises MessageOutOfOrder before the start."""
        if self._channel is None:
            raise MessageOutOfOrder("The training has not started yet.")
        return self._channel

    @property
    def has_started(self) -> bool:
        """True if this member is one of the training that has started."""
        return self._channel is not None

    @property
    def is_left_out(self) -> bool:
        """True if the training has started without this member."""
        return bool(self.state.started) and self._channel is None

    @property
    def plan(self) -> Plan:
        """The plan in the coordinator's hello; raises MessageOutOfOrder before it has arrived."""
        hello = self.hellos.get(COORDINATOR)
        if hello is None or hello.plan is None:
            raise MessageOutOfOrder("The coordinator's plan has not arrived yet.")
        return hello.plan

    @property
    def lenders(self) -> tuple[str, ...]:
        """The lenders of the training that has started, sorted."""
        return tuple(name for name in sorted(self.state.started) if name != COORDINATOR)

    @property
    def run(self) -> bytes:
        """The digest that names the training."""
        return run_digest(self.state.training_id, self.plan.digest(), self._transcript())

    @property
    def verify_keys(self) -> dict[str, bytes]:
        """The lenders' Ed25519 keys for this training."""
        return {name: self.hellos[name].signing_key for name in self.lenders}

    @property
    def least_lenders(self) -> int:
        """The fewest lenders of a sum: three, and one more if the coordinator is one of them.

        A coordinator that lends as well can subtract its own vector from every sum. It is known by
        its identity key, which it has presented in both places.
        """
        coordinator = self.hellos.get(COORDINATOR)
        own = None if coordinator is None else coordinator.identity_key
        lenders = self.lenders or [name for name in self.hellos if name != COORDINATOR]
        return LEAST_LENDERS + any(self.hellos[name].identity_key == own for name in lenders)

    def group(self) -> Group:
        """Return the lenders of the training that has started; raises RosterRefused."""
        return Group(self.run, self.verify_keys, self.least_lenders)

    def sign(self, data: bytes) -> bytes:
        """Sign with this member's key for this training."""
        return self._identity.sign(data)

    def _transcript(self) -> bytes:
        return transcript(
            self.state.training_id, {name: self.state.hellos[name] for name in self.state.started}
        )

    def _make_channel(self) -> None:
        others = {
            name: PublicIdentity(self.hellos[name].signing_key, self.hellos[name].exchange_key)
            for name in self.state.started
            if name != self.state.me
        }
        if self.state.channel:
            self._channel = Channel.resumed(self._identity, others, self.state.channel)
            return
        self._channel = Channel(self.state.me, self._identity, others, self._transcript())
        self._identity = self._identity.without_exchange()
        self.state.channel = self._channel.keys()
        self.state.identity = self._identity.to_bytes()

    def _opened_hello(self, sender: str, body: bytes) -> Hello:
        """Return a member's hello; raises NotAuthentic, MalformedMessage and IdentityMismatch."""
        place = self._place(sender, None, HELLO_NUMBER)
        payload, signature = self._words.open(place, body)
        hello = _decoded(sender, payload)
        if not isinstance(hello, Hello) or hello.name != sender:
            raise MalformedMessage(f"The first message of {sender} is not its hello.")
        if (hello.plan is None) == (sender == COORDINATOR):
            raise MalformedMessage("The coordinator's hello has the plan, and no other has one.")
        signed(PublicIdentity(hello.signing_key, hello.exchange_key), place, payload, signature)
        pin = self._pins.get(sender)
        genuine = is_signed(self.state.training_id, sender, hello, _DOMAIN)
        if not genuine or (pin is not None and hello.identity_key != pin):
            raise IdentityMismatch(
                f"{sender} presented the identity key {shown(hello.identity_key)}, which is not "
                "the one that was pinned, or did not sign with it. Ask that lender by another "
                "channel; if its key is new, correct the trust file and start another training."
            )
        return hello

    def _place(self, sender: str, to: str | None, number: int) -> Place:
        return Place(self.state.training_id, "", sender, to, f"message {number}")


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _decoded(sender: str, payload: bytes) -> FromCoordinator | FromLender:
    if sender == COORDINATOR:
        return decode_from_coordinator(payload)
    return decode_from_lender(sender, payload)
