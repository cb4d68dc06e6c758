"""The messages that a party sends and receives in one application, and their sealing.

The rules on their order and content are in turns.py and checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from engines.interface import DECIDE, MASKED_BY, PROGRAMS, REASONS, SIGN_OF, PublicModel
from parties.joint.channel import (
    SIGNATURE_BYTES,
    Channel,
    FirstWords,
    Identity,
    Place,
    PublicIdentity,
    signed,
    transcript,
)
from parties.joint.identities import IdentityKey
from parties.joint.messages import (
    HELLO,
    Agreement,
    Confirmation,
    Hello,
    JointMessage,
    agree_step,
    confirm_step,
    decode,
    encode,
)
from parties.joint.state import Outgoing, ProtocolState
from utils.errors import NotAuthentic, OutOfStep


class Conversation:
    """One party's messages; `secret` is its share of the key, empty before it is made."""

    def __init__(
        self,
        public: PublicModel,
        party: str,
        application: str,
        identity: Identity | None,
        state: ProtocolState,
        secret: bytes,
    ) -> None:
        self.public, self.party, self.application = public, party, application
        self.state, self.secret = state, secret
        self.names: tuple[str, ...] = tuple(public.schema_.party_names)
        pairs = ((name, SIGN_OF[name]) for name in PROGRAMS)
        self.programs = tuple(n for pair in pairs for n in pair if n in public.programs)
        self.agreed_programs = tuple(name for name in self.programs if name in PROGRAMS)
        self._identity = identity
        self._channel: Channel | None = None

    @property
    def readers(self) -> tuple[str, ...]:
        """The parties that learn the result."""
        return self.state.hello_of(self.party).readers

    def readers_of(self, program: str) -> tuple[str, ...]:
        """Return the parties that learn what a program opens: scores, signs or levels."""
        own = self.state.hello_of(self.party)
        base = MASKED_BY.get(program, program)
        if base == REASONS:
            return own.reasons_readers
        return own.readers if base == DECIDE else own.explanation_readers

    def reads(self, program: str) -> bool:
        """Return True if this party learns the scores or signs of a program."""
        return self.party in self.readers_of(program)

    @property
    def channel(self) -> Channel:
        """The channel that seals and opens messages, once all hellos have arrived."""
        if self._channel is None:
            others = {
                name: PublicIdentity(hello.signing_key, hello.exchange_key)
                for name, hello in self.state.said(Hello, HELLO).items()
                if name != self.party
            }
            self._channel = Channel(self.party, self.identity, others, self.transcript())
        return self._channel

    @property
    def identity(self) -> Identity:
        """This party's own keys; raises OutOfStep if they are erased."""
        if self._identity is None:
            raise OutOfStep(
                f"{self.party} has erased its keys of this application, since nothing was left to "
                "open with them. Open a new application."
            )
        return self._identity

    def forget_keys(self) -> None:
        """Drop this party's keys; it can no longer seal or open messages."""
        self.secret = b""
        self._identity = self._channel = None

    def transcript(self) -> bytes:
        """Return the digest of all hellos."""
        words = {name: kept.digest.encode() for name, kept in self.state.inbox[HELLO].items()}
        return transcript(self.application, words)

    def all_said(self, step: str) -> bool:
        """Return True if every party has sent this step."""
        return self.state.senders(step) == set(self.names)

    def silent(self, step: str) -> tuple[str, ...]:
        """Return the other parties that have not sent this step."""
        said = self.state.senders(step)
        return tuple(name for name in self.names if name not in said and name != self.party)

    def agreements(self, program: str) -> dict[str, Agreement]:
        """Return the agreements received so far, by party; their contents are all the same."""
        return self.state.said(Agreement, agree_step(program))

    def confirmations(self, program: str) -> dict[str, Confirmation]:
        """Return the confirmations received so far, by party; all name the same result."""
        return self.state.said(Confirmation, confirm_step(program))

    @property
    def witnesses(self) -> dict[str, str]:
        """The names of the application's witnesses by public key, in hexadecimal."""
        return self.state.hello_of(self.party).witnesses

    def greet(
        self,
        readers: tuple[str, ...],
        explanation_readers: tuple[str, ...],
        reasons_readers: tuple[str, ...],
        seed: bytes,
        key: IdentityKey,
        witnesses: Mapping[str, str],
    ) -> None:
        """Put the hello into the outbox, signed by this party's identity key.

        `seed` is this party's share of the common randomness.
        """
        own = self.identity.public
        hello = Hello(
            model_version=self.public.model_version,
            model_sha256=self.public.digest,
            client_sha256=self.public.client_sha256,
            readers=readers,
            explanation_readers=explanation_readers,
            reasons_readers=reasons_readers,
            witnesses=dict(witnesses),
            signing_key=own.signing,
            exchange_key=own.exchange,
            seed=seed,
            identity_key=key.public,
            identity_signature=bytes(SIGNATURE_BYTES),
        )
        self.say(HELLO, key.signed(self.application, self.party, hello))

    def say(self, step: str, message: JointMessage, receiver: str | None = None) -> None:
        """Seal a message into the outbox; one for all parties is also added to the own inbox."""
        payload = encode(message)
        place = self.place(self.party, step, receiver)
        if step == HELLO:
            body = FirstWords(self.application, self.identity).seal(place, payload)
        else:
            body = self.channel.seal(place, payload)
        self.state.outbox.append(Outgoing(step=step, receiver=receiver, body=body))
        if receiver is None:
            self.state.keep(self.party, step, payload, body)

    def unseal(self, sender: str, step: str, receiver: str | None, body: bytes) -> bytes:
        """Return the payload of another party's message; raises NotAuthentic, MalformedMessage."""
        place = self.place(sender, step, receiver)
        if step != HELLO:
            return self.channel.open(place, body)
        payload, signature = FirstWords(self.application, self.identity).open(place, body)
        hello = decode(Hello, payload)
        signed(PublicIdentity(hello.signing_key, hello.exchange_key), place, payload, signature)
        return payload

    def recognise(self, step: str, receiver: str | None, body: bytes) -> None:
        """Mark an own message as posted; raises NotAuthentic if it was never sent."""
        for message in self.state.outbox:
            if (message.step, message.receiver, message.body) == (step, receiver, body):
                message.posted = True
                return
        raise NotAuthentic(
            f"The server returned a message {step[:49]} of {self.party} that {self.party} did not "
            "send. Open a new application."
        )

    @contextmanager
    def or_unchanged(self) -> Iterator[None]:
        """Restore the state and the secret if an error is raised inside."""
        before, secret = self.state.model_copy(deep=True), self.secret
        try:
            yield
        except BaseException:
            self.state, self.secret, self._channel = before, secret, None
            raise

    def place(self, sender: str, step: str, receiver: str | None) -> Place:
        """Return the context that a message of this application is bound to."""
        # The hello names its model in the payload, so that a difference can be reported.
        model = "" if step == HELLO else self.public.model_version
        return Place(self.application, model, sender, receiver, step)
