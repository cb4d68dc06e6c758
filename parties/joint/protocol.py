"""The joint protocol of one party, as a state machine without any input or output.

Outgoing messages are sealed exactly once and placed in an outbox. An incoming message is accepted
once only, in its turn and from the right sender. A step is accepted only after every party has
sent the previous one, so no party can open a share before all have committed to theirs. A refused
message leaves the state unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    PUBLIC_KEY,
    JointPartyEngine,
    PublicModel,
)
from engines.statement import Statement, model_sha256, slot_name
from parties.joint.channel import Identity, framed
from parties.joint.checks import check, require_signatures, same_result
from parties.joint.conversation import Conversation
from parties.joint.key_making import KeyMaking
from parties.joint.messages import (
    KEY_STEPS,
    Agreement,
    Partial,
    agree_step,
    class_of,
    decode,
    encode,
    partial_step,
)
from parties.joint.state import Outgoing, ProtocolState
from parties.joint.turns import require_place, require_turn
from utils.errors import AlreadyOpened, MessageRepeated, OutOfStep, TrisealError


class JointProtocol:
    """One party's side of the protocol.

    Create it with `start`, or with `resume` from the results of `to_bytes` and `secret`.
    """

    def __init__(self, engine: JointPartyEngine, conversation: Conversation) -> None:
        self._engine, self._talk = engine, conversation
        self.broken = False
        """True once content signed by another party was refused; no later message can fix that."""
        self._keys = KeyMaking(engine, conversation)

    @classmethod
    def start(
        cls,
        engine: JointPartyEngine,
        public: PublicModel,
        party: str,
        application: str,
        identity: Identity,
        readers: tuple[str, ...],
        witnesses: Mapping[str, str] = MappingProxyType({}),
    ) -> JointProtocol:
        """Start the protocol, with the party's hello in `pending`.

        `witnesses` are the names, by public key, of those that have to sign every result.
        Raises UnknownParty if the schema has no such party.
        """
        public.schema_.party(party)
        talk = Conversation(public, party, application, identity, ProtocolState(), b"")
        talk.greet(readers, engine.seed_share(), witnesses)
        return cls(engine, talk)

    @classmethod
    def resume(
        cls,
        engine: JointPartyEngine,
        public: PublicModel,
        party: str,
        application: str,
        identity: Identity | None,
        state: bytes,
        secret: bytes,
    ) -> JointProtocol:
        """Resume from a stored state; `identity` is None and `secret` empty if they were erased.

        Raises MalformedMessage if the state is damaged.
        """
        kept = ProtocolState.from_bytes(state)
        return cls(engine, Conversation(public, party, application, identity, kept, secret))

    def to_bytes(self) -> bytes:
        """Serialise the state, without the identity and the secret, for the party's own file."""
        return self._talk.state.to_bytes()

    @property
    def conversation(self) -> Conversation:
        """The messages sent and received, and the keys that seal them.

        Tests read it, and play a dishonest party with it: its methods check no turn. Refused
        messages replace its `state`, so do not keep a reference to that.
        """
        return self._talk

    @property
    def secret(self) -> bytes:
        """This party's share of the secret key, empty before it is made; store it separately."""
        return self._talk.secret

    @property
    def readers(self) -> tuple[str, ...]:
        """The parties that learn the result."""
        return self._talk.readers

    @property
    def witnesses(self) -> Mapping[str, str]:
        """The names, by public key, of those without whose signature nothing is opened."""
        return self._talk.witnesses

    @property
    def model_version(self) -> str:
        """The version of the model that this party joined the application with."""
        return self._talk.state.hello_of(self._talk.party).model_version

    @property
    def ready(self) -> bool:
        """True once the public key has been made and checked."""
        return self._talk.state.ready

    @property
    def public_key(self) -> bytes:
        """The public key; raises OutOfStep before it has been made and checked."""
        if not self.ready:
            awaited = ", ".join(self.awaits()) or "the others"
            raise OutOfStep(f"The joint keys are not ready yet; waiting for: {awaited}.")
        return self._talk.state.public_key

    @property
    def fingerprint(self) -> str | None:
        """20 hexadecimal digits, in groups of 4, from a hash of all hellos and the public key."""
        if not self.ready:
            return None
        key = hashlib.sha256(self.public_key).digest()
        whole = framed(b"fingerprint", self._talk.transcript(), key)
        digits = hashlib.sha256(whole).hexdigest()[:20]
        return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))

    def pending(self) -> list[Outgoing]:
        """Return the messages still to be sent, oldest first; save the state before sending any."""
        return [message for message in self._talk.state.outbox if not message.posted]

    def mark_posted(self, messages: Iterable[Outgoing]) -> list[Outgoing]:
        """Note that the server has these messages; return those of which it was not known yet."""
        sent = {(m.step, m.receiver, m.body) for m in messages}
        found = [m for m in self.pending() if (m.step, m.receiver, m.body) in sent]
        for message in found:
            message.posted = True
        return found

    def receive(self, sender: str, step: str, receiver: str | None, body: bytes) -> bool:
        """Process a message as the server delivers it; return True if it was new.

        Raises NotAuthentic, MessageRepeated, MessageOutOfOrder, CommitmentBroken,
        PartiesDisagree, KeyCheckFailed or MalformedMessage; the state is then unchanged.
        """
        talk = self._talk
        if sender == talk.party:
            talk.recognise(step, receiver, body)
            return False
        require_place(talk, sender, step, receiver)
        kept = talk.state.inbox.get(step, {}).get(sender)
        if kept is not None:
            if kept.digest == hashlib.sha256(body).hexdigest():
                return False
            raise MessageRepeated(
                f"{sender} sent two different messages for {step}; the second was refused. Open a "
                "new application."
            )
        require_turn(talk, sender, step)
        with talk.or_unchanged():
            payload = talk.unseal(sender, step, receiver, body)
            with self._binding():
                check(talk, sender, step, decode(class_of(step), payload))
                talk.state.keep(sender, step, payload, body)
                self._keys.go_on()
        return True

    def agree(self, program: str, inputs: Mapping[str, str]) -> None:
        """Agree, once, to open the result of `program` on `inputs`: SHA-256 by party.

        Raises OutOfStep before the keys are ready, for an unknown program, or for an explanation
        before the decision is opened; PartiesDisagree if another party, or this party itself, has
        agreed to different inputs.
        """
        if program not in self._talk.programs:
            raise OutOfStep(f"There is no program {program[:16]!r} to agree to.")
        key = hashlib.sha256(self.public_key).hexdigest()
        if program != DECIDE and DECIDE not in self._talk.state.opened:
            raise OutOfStep("The explanation comes after the decision: open the decision first.")
        message = Agreement(program=program, inputs=dict(inputs), public_key_digest=key)
        step = agree_step(program)
        check(self._talk, self._talk.party, step, message)
        if self._talk.party not in self._talk.state.senders(step):
            self._talk.say(step, message)

    def agreements(self, program: str) -> dict[str, Agreement]:
        """Return the agreements received so far, by party; their contents are all the same."""
        return self._talk.agreements(program)

    def agreed(self, program: str) -> bool:
        """Return True if all parties have agreed."""
        return self._talk.all_said(agree_step(program))

    def opened(self, program: str) -> str | None:
        """Return the SHA-256 of the one result that this party sent its share for, or None."""
        return self._talk.state.opened.get(program)

    def open(
        self,
        program: str,
        result: bytes,
        signatures: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Make this party's decryption share of the agreed run's result; for one result only.

        `signatures` are those of the witnesses, by public key. Raises OutOfStep before all agree,
        ResultNotWitnessed unless every witness has signed exactly this result, AlreadyOpened if a
        different result was opened before, PartiesDisagree if another party opened a different
        result, ForeignMessage, and MalformedMessage.
        """
        talk, step = self._talk, partial_step(program)
        sha256 = hashlib.sha256(result).hexdigest()
        answered = self.opened(program)
        if answered is not None:
            self._require_same(program, answered, sha256)
            return
        if not self.agreed(program):
            raise OutOfStep(f"Not all parties have agreed to {program} yet.")
        with self._binding():
            for sender, other in talk.state.said(Partial, step).items():
                same_result(sender, program, other.result_sha256, sha256)
        if talk.witnesses:
            require_signatures(talk, self._statement(program, sha256), signatures)
        share = self._engine.partial(
            program, result, talk.party, self.public_key, self.secret, talk.channel.pairwise
        )
        message = Partial(program=program, result_sha256=sha256, share=share)
        with talk.or_unchanged():
            talk.state.opened[program] = sha256
            for reader in self.readers:
                if reader != talk.party:
                    talk.say(step, message, reader)
            talk.state.keep(talk.party, step, encode(message), b"")

    def _statement(self, program: str, result_sha256: str) -> Statement:
        """Return the statement that the witnesses must have signed, from what this party knows."""
        talk = self._talk
        sealed = self._engine.seal_public_key(talk.names[0], self.public_key)
        agreed = talk.agreements(program)[talk.party].inputs
        known = {(name, ENCRYPTED_INPUTS): sha256 for name, sha256 in agreed.items()}
        known[talk.names[0], PUBLIC_KEY] = hashlib.sha256(sealed).hexdigest()
        used = [(s.party, s.file_name) for s in talk.public.slots if program in s.needed_for]
        return Statement(
            application=talk.application,
            program=program,
            model_sha256=model_sha256(talk.public),
            # A message that the parties have not agreed to makes every signature invalid.
            messages={slot_name(*slot): known.get(slot, "") for slot in used},
            result_sha256=result_sha256,
        )

    def scores(self, program: str, result: bytes) -> tuple[float, ...] | None:
        """Return the decrypted scores, or None before all shares are there or for a non-reader.

        Raises AlreadyOpened if the shares belong to a different result, ForeignMessage, and
        MalformedMessage.
        """
        talk, step = self._talk, partial_step(program)
        if not talk.reads or not talk.all_said(step):
            return None
        self._require_same(program, self.opened(program) or "", hashlib.sha256(result).hexdigest())
        parts = {name: said.share for name, said in talk.state.said(Partial, step).items()}
        with self._binding():
            return self._engine.combine(program, result, parts)

    def awaits(self) -> tuple[str, ...]:
        """Return the other parties whose message is needed next; empty if none is."""
        return tuple(sender for sender, _ in self.expected())

    def expected(self) -> tuple[tuple[str, str], ...]:
        """Return the messages that are needed next, as pairs of sender and step."""
        talk = self._talk
        for step in KEY_STEPS:
            if not talk.all_said(step):
                return self._missing(step)
        expected: tuple[tuple[str, str], ...] = ()
        for program in talk.programs:
            step = agree_step(program)
            if talk.party in talk.state.senders(step):
                expected = expected or self._missing(step)
            if program in talk.state.opened and talk.reads:
                expected = expected or self._missing(partial_step(program))
        return expected

    def _missing(self, step: str) -> tuple[tuple[str, str], ...]:
        return tuple((sender, step) for sender in self._talk.silent(step))

    @property
    def last_part_given(self) -> bool:
        """True once this party has made all its decryption shares and needs no secret any more."""
        return all(program in self._talk.state.opened for program in self._talk.programs)

    def forget_secret(self) -> None:
        """Drop this party's share of the secret key, with the key of its smudging noise."""
        self._talk.secret = b""

    def forget_keys(self) -> None:
        """Drop the secret and the channel keys: this party can no longer send or receive."""
        self._talk.forget_keys()

    @contextmanager
    def _binding(self) -> Iterator[None]:
        """Set `broken` if an error is raised inside: another party signed the refused content."""
        try:
            yield
        except TrisealError:
            self.broken = True
            raise

    def _require_same(self, program: str, answered: str, sha256: str) -> None:
        if answered != sha256:
            raise AlreadyOpened(
                f"{self._talk.party} has already opened a different result of {program}. It opens "
                "no second one: two openings could reveal the encrypted data."
            )
