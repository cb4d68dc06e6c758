"""The joint protocol of one party, as a state machine without any input or output.

Outgoing messages are sealed exactly once and placed in an outbox. An incoming message is accepted
once only, in its turn and from the right sender. A step is accepted only after every party has
sent the previous one, so no party can open a share before all have committed to theirs. A refused
message leaves the state unchanged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from engines.interface import (
    CHALLENGE,
    DECIDE,
    ENCRYPTED_INPUTS,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PUBLIC_KEY,
    REASONS,
    JointPartyEngine,
    PublicModel,
)
from engines.statement import Statement, slot_name
from governance.permits import Use
from governance.program_permits import uses_of
from parties.joint.channel import Identity, commitment, framed
from parties.joint.checks import check, require_signatures
from parties.joint.consents import Consent, Terms, allowed_by
from parties.joint.conversation import Conversation
from parties.joint.identities import IdentityKey, PartyIdentity, Trust, require_identity
from parties.joint.key_making import NONCE_BYTES, KeyMaking
from parties.joint.messages import (
    HELLO,
    KEY_STEPS,
    RECORD_COMMIT,
    Agreement,
    Confirmation,
    Hello,
    Partial,
    RecordCommit,
    agree_step,
    agreement_step,
    class_of,
    confirm_step,
    decode,
    encode,
    partial_step,
)
from parties.joint.state import Outgoing, ProtocolState
from parties.joint.turns import require_place, require_turn
from utils.errors import (
    AlreadyOpened,
    AlreadySent,
    IdentityMismatch,
    MessageRepeated,
    OutOfStep,
    TrisealError,
)
from utils.fingerprints import grouped


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
        trust: Trust | None = None,
        witnesses: Mapping[str, str] = MappingProxyType({}),
        explanation_readers: tuple[str, ...] | None = None,
        reasons_readers: tuple[str, ...] | None = None,
    ) -> JointProtocol:
        """Start the protocol, with the party's hello in `pending`; `trust` of None pins nobody.

        `witnesses` are the names, by public key, of those that have to sign every result.
        `explanation_readers` of None stands for all `readers`, and `reasons_readers` of None for
        the readers of the explanation; without reasons in the model, nobody reads any.
        Raises UnknownParty if the schema has no such party.
        """
        public.schema_.party(party)
        trust = trust or Trust()
        state = ProtocolState(pins=dict(trust.pins))
        talk = Conversation(public, party, application, identity, state, b"")
        explained = explanation_readers or readers
        talk.greet(
            readers,
            explained,
            (reasons_readers or explained) if REASONS in public.programs else (),
            engine.seed_share(),
            trust.own or IdentityKey.fresh(),
            witnesses,
        )
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
        pins: Mapping[str, bytes] | None = None,
    ) -> JointProtocol:
        """Resume from a stored state; `identity` is None and `secret` empty if they were erased.

        `pins` are added to those stored. Call `require_pinned` if a hello may be older than they
        are. Raises MalformedMessage if the state is damaged.
        """
        kept = ProtocolState.from_bytes(state)
        kept.pins |= pins or {}
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
        """The parties that learn the decision."""
        return self._talk.readers

    def readers_of(self, program: str) -> tuple[str, ...]:
        """Return the parties that learn what a program opens: scores, signs or levels."""
        return self._talk.readers_of(program)

    @property
    def witnesses(self) -> Mapping[str, str]:
        """The names, by public key, of those without whose signature nothing is opened."""
        return self._talk.witnesses

    @property
    def model_sha256(self) -> str:
        """The digest of the public model that this party joined the application with."""
        return self._talk.state.hello_of(self._talk.party).model_sha256

    @property
    def ready(self) -> bool:
        """True once the public key has been made."""
        return self._talk.state.ready

    @property
    def public_key(self) -> bytes:
        """The public key; raises OutOfStep before it has been made."""
        self._require_keys()
        return self._talk.state.public_key

    def _require_keys(self) -> None:
        if not self.ready:
            awaited = ", ".join(self.awaits()) or "the others"
            raise OutOfStep(f"The joint keys are not ready yet; waiting for: {awaited}.")

    @property
    def fingerprint(self) -> str | None:
        """20 hexadecimal digits, in groups of 4, from a hash of all hellos and the public key."""
        if not self.ready:
            return None
        key = hashlib.sha256(self.public_key).digest()
        whole = framed(b"fingerprint", self._talk.transcript(), key)
        return grouped(hashlib.sha256(whole).hexdigest(), 20)

    @property
    def identities(self) -> tuple[PartyIdentity, ...]:
        """The identity of every other party, in the schema's order."""
        talk = self._talk
        hellos = talk.state.said(Hello, HELLO)
        return tuple(
            PartyIdentity(
                name, hellos[name].identity_key if name in hellos else None, name in talk.state.pins
            )
            for name in talk.names
            if name != talk.party
        )

    @property
    def own_identity(self) -> bytes:
        """The public identity key in this party's own hello."""
        return self._talk.state.hello_of(self._talk.party).identity_key

    def require_pinned(self) -> None:
        """Compare the hellos received so far with the pins; raises IdentityMismatch.

        Messages not sent yet are then dropped: they would go to somebody else.
        """
        talk = self._talk
        try:
            for name, hello in talk.state.said(Hello, HELLO).items():
                if name != talk.party:
                    require_identity(talk.application, name, hello, talk.state.pins.get(name))
        except IdentityMismatch:
            talk.state.outbox = [message for message in talk.state.outbox if message.posted]
            raise

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

        Raises NotAuthentic, MessageRepeated, MessageOutOfOrder, IdentityMismatch,
        CommitmentBroken, PartiesDisagree or MalformedMessage; the state is then unchanged.
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

    def commit_record(self, sha256: str, masks: str | None = None) -> None:
        """Commit, once, to this party's sealed record with this SHA-256, and to a fresh nonce.

        `masks` is the SHA-256 of its encrypted masks of the decision if that has a comparison.
        Raises OutOfStep before the keys are ready, and AlreadySent for a second record: once any
        party has uploaded under this key, another record could be a copy, or a modified copy, of
        that party's ciphertext, and only new keys prevent that.
        """
        talk = self._talk
        self.require_uncommitted()
        nonce = os.urandom(NONCE_BYTES)
        sealed = commitment(talk.application, talk.party, RECORD_COMMIT, nonce, b"")
        message = RecordCommit(inputs=sha256, masks=masks, nonce=sealed)
        with self._binding():
            check(talk, talk.party, RECORD_COMMIT, message)
        talk.state.nonces[RECORD_COMMIT] = nonce
        talk.say(RECORD_COMMIT, message)

    def require_uncommitted(self) -> None:
        """Raise OutOfStep before the keys are ready, AlreadySent after `commit_record`."""
        self._require_keys()
        if self.has_committed:
            raise AlreadySent(
                f"{self._talk.party} has committed to its record, which is now fixed: a record "
                "replaced after others were sent could be made from theirs. To send another one, "
                "open a new application, which has new keys."
            )

    def committed(self) -> dict[str, str]:
        """Return the SHA-256 of the sealed records committed to so far, by party."""
        said = self._talk.state.said(RecordCommit, RECORD_COMMIT)
        return {name: message.inputs for name, message in said.items()}

    @property
    def has_committed(self) -> bool:
        """True once this party has committed to its record."""
        return self._talk.party in self._talk.state.senders(RECORD_COMMIT)

    @property
    def all_committed(self) -> bool:
        """True once all parties have committed to their records: only then are these sent."""
        return self._talk.all_said(RECORD_COMMIT)

    def agree(self, program: str, inputs: Mapping[str, str], masks: str | None = None) -> None:
        """Agree, once, to open the result of `program` on `inputs`: SHA-256 by party.

        `masks` is the SHA-256 of this party's encrypted masks if the program has a comparison.

        Raises OutOfStep before all parties have committed to their records, for an unknown program,
        or before the decision is opened for a program that comes after it; PartiesDisagree if
        `inputs` are not the records committed to.
        """
        self.require_time_to_agree(program)
        key = hashlib.sha256(self.public_key).hexdigest()
        nonce = self._talk.state.nonces[RECORD_COMMIT] if program == DECIDE else None
        message = Agreement(
            program=program,
            inputs=dict(inputs),
            public_key_digest=key,
            masks=masks,
            nonce=nonce,
        )
        step = agree_step(program)
        check(self._talk, self._talk.party, step, message)
        if self._talk.party not in self._talk.state.senders(step):
            self._talk.say(step, message)

    def require_time_to_agree(self, program: str) -> None:
        """Raise OutOfStep if it is too early to agree, as `agree` does, or no such program."""
        if program not in self._talk.agreed_programs:
            raise OutOfStep(f"There is no program {program[:16]!r} to agree to.")
        if program != DECIDE and self._talk.public.final(DECIDE) not in self._talk.state.opened:
            what = "The reasons come" if program == REASONS else "The explanation comes"
            raise OutOfStep(f"{what} after the decision: open the decision first.")
        if not self.all_committed:
            missing = ", ".join(n for n in self._talk.names if n not in self.committed())
            raise OutOfStep(f"There is nothing to agree to yet; still to be sent: {missing}.")

    def agreements(self, program: str) -> dict[str, Agreement]:
        """Return the agreements received so far, by party; their contents are all the same."""
        return self._talk.agreements(program)

    def agreed(self, program: str) -> bool:
        """Return True if all parties have agreed to the run of a program; see agreement_step."""
        return self._talk.all_said(agreement_step(program))

    def agrees(self, program: str, party: str) -> bool:
        """Return True if a party has agreed to the run of a program; see agreement_step."""
        return party in self._talk.state.senders(agreement_step(program))

    def opened(self, program: str) -> str | None:
        """Return the SHA-256 of the one result that this party sent its share for, or None."""
        return self._talk.state.opened.get(program)

    def confirmed(self, program: str) -> str | None:
        """Return the SHA-256 of the one result that this party has confirmed, or None."""
        own = self._talk.confirmations(program).get(self._talk.party)
        return None if own is None else own.result_sha256

    def all_confirmed(self, program: str) -> bool:
        """Return True if all parties have confirmed the same result."""
        return self._talk.all_said(confirm_step(program))

    def open(
        self,
        program: str,
        result: bytes,
        signatures: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Confirm the result of an agreed run; once all have, make this party's share of it.

        Call it again when others have confirmed. For one result only. `signatures` are those of the
        witnesses, by public key. Raises OutOfStep before all agree, ResultNotWitnessed unless every
        witness has signed exactly this result, AlreadyOpened if this party has confirmed a
        different one, PartiesDisagree if another party has, ForeignMessage, and MalformedMessage.
        """
        talk, step = self._talk, partial_step(program)
        sha256 = hashlib.sha256(result).hexdigest()
        self._require_same(program, self.confirmed(program) or sha256, sha256)
        if self.opened(program) is not None:
            return
        if not self.agreed(program):
            raise OutOfStep(f"Not all parties have agreed to {program} yet.")
        if talk.witnesses:
            require_signatures(talk, self._statement(program, sha256), signatures)
        if self.confirmed(program) is None:
            self._engine.check_result(program, result)
            said = Confirmation(program=program, result_sha256=sha256)
            with self._binding():
                check(talk, talk.party, confirm_step(program), said)
            talk.say(confirm_step(program), said)
        if not self.all_confirmed(program):
            return
        share = self._engine.partial(
            program, result, talk.party, self.public_key, self.secret, talk.channel.pairwise
        )
        message = Partial(program=program, result_sha256=sha256, share=share)
        with talk.or_unchanged():
            talk.state.opened[program] = sha256
            if talk.public.masked(program):
                talk.say(step, message)
                return
            for reader in self.readers_of(program):
                if reader != talk.party:
                    talk.say(step, message, reader)
            talk.state.keep(talk.party, step, encode(message), b"")

    def challenge(self) -> bytes:
        """Return the sealed challenge of the check that inputs are bits, once all have agreed.

        It depends on all records and on all nonces that were committed to before any record was
        sent, so that no party could choose either by the other.
        """
        talk = self._talk
        said = talk.agreements(DECIDE)
        inputs = {name: bytes.fromhex(sha256) for name, sha256 in self.committed().items()}
        nonces = {name: message.nonce or b"" for name, message in said.items()}
        key = hashlib.sha256(self.public_key).digest()
        context = framed(talk.application.encode(), talk.public.digest.encode(), key)
        return self._engine.seal_challenge(context, inputs, nonces)

    def masked_scores(self, program: str, result: bytes) -> bytes | None:
        """Return the sealed message with the masked scores, or None before all shares are there.

        Raises AlreadyOpened if the shares belong to a different result, OpeningFailed if a share is
        wrong, ForeignMessage, and MalformedMessage.
        """
        parts = self._parts(program, result)
        if parts is None:
            return None
        with self._binding():
            sealed = self._engine.seal_masked(program, result, parts)
        self._talk.state.masked[program] = hashlib.sha256(sealed).hexdigest()
        return sealed

    def masked_sha256(self, program: str) -> str | None:
        """Return the SHA-256 of the message with the masked scores, or None before it is made."""
        return self._talk.state.masked.get(program)

    def agreed_files(self, program: str) -> dict[tuple[str, str], str]:
        """Return the SHA-256 that a run's files must have, by party and file name.

        These are the files that the parties have agreed to; the public key is among them.
        """
        talk, first = self._talk, self._talk.names[0]
        masked = MASKED_BY.get(program)
        files = self._data_files(masked or program)
        if masked is None:
            if program == DECIDE and talk.public.checked:
                sealed = self.challenge()
                files[first, CHALLENGE] = hashlib.sha256(sealed).hexdigest()
            return files
        agreements = talk.agreements(masked)
        files = {(first, PUBLIC_KEY): files[first, PUBLIC_KEY]}
        masks = {(name, MASKS_OF[masked]): said.masks or "" for name, said in agreements.items()}
        return files | masks | {(first, MASKED_OF[masked]): self.masked_sha256(masked) or ""}

    def _data_files(self, program: str) -> dict[tuple[str, str], str]:
        """Return the SHA-256 of the public key's file and of the records agreed to."""
        talk, first = self._talk, self._talk.names[0]
        sealed = self._engine.seal_public_key(first, self.public_key)
        inputs = talk.agreements(program)[talk.party].inputs
        files = {(name, ENCRYPTED_INPUTS): inputs[name] for name in talk.names}
        return files | {(first, PUBLIC_KEY): hashlib.sha256(sealed).hexdigest()}

    def permit(self, program: str, now: float) -> str:
        """Return a new permit for one run of a program that this party has agreed to.

        It is signed with the party's signing key and names the records agreed to. `now` is in
        seconds since 1970. Raises OutOfStep if the party has not agreed or has erased its keys.
        """
        return self._talk.identity.permit(self._use(program), now)

    def consent(self, program: str, hours: float, ends: float, now: float) -> Consent:
        """Return the request that this party has agreed to, and its signed receipt.

        `hours` and `ends` are as in Terms, `now` in seconds since 1970. Raises as `permit` does.
        """
        talk = self._talk
        readers = self.readers_of(program)
        keys = {name: said.identity_key for name, said in self.hellos.items()}
        terms = Terms(talk.public.schema_, readers, keys, hours, ends)
        allowed = allowed_by(self._use(program), terms, now)
        receipt = talk.identity.receipt(allowed, now)
        return Consent(allowed.request.document(), receipt.document)

    def _use(self, program: str) -> Use:
        """Return the use of this party's data by an agreed program; raises OutOfStep."""
        talk = self._talk
        if talk.party not in talk.agreements(program):
            raise OutOfStep(f"{talk.party} has not agreed to {program} yet.")
        files = self._data_files(program)
        return uses_of(talk.public, talk.application, program, files)[talk.party]

    @property
    def hellos(self) -> dict[str, Hello]:
        """The hellos received so far, by party."""
        return self._talk.state.said(Hello, HELLO)

    def _statement(self, program: str, result_sha256: str) -> Statement:
        """Return the statement that the witnesses must have signed, from what this party knows."""
        talk, known = self._talk, self.agreed_files(program)
        used = [(s.party, s.file_name) for s in talk.public.slots if program in s.needed_for]
        return Statement(
            application=talk.application,
            program=program,
            model_sha256=talk.public.digest,
            # A message that the parties have not agreed to makes every signature invalid.
            messages={slot_name(*slot): known.get(slot, "") for slot in used},
            result_sha256=result_sha256,
        )

    def scores(self, program: str, result: bytes) -> tuple[float, ...] | None:
        """Return the decrypted scores, or None before all shares are there or for a non-reader.

        Raises AlreadyOpened if the shares belong to a different result, ForeignMessage, and
        MalformedMessage.
        """
        parts = self._parts(program, result) if self._talk.reads(program) else None
        if parts is None:
            return None
        with self._binding():
            return self._engine.combine(program, result, parts)

    def _parts(self, program: str, result: bytes) -> dict[str, bytes] | None:
        """Return all shares of the result by party, or None before they are there."""
        talk, step = self._talk, partial_step(program)
        if not talk.all_said(step):
            return None
        self._require_same(program, self.opened(program) or "", hashlib.sha256(result).hexdigest())
        return {name: said.share for name, said in talk.state.said(Partial, step).items()}

    def awaits(self) -> tuple[str, ...]:
        """Return the other parties whose message is needed next; empty if none is."""
        return tuple(sender for sender, _ in self.expected())

    def expected(self) -> tuple[tuple[str, str], ...]:
        """Return the messages that are needed next, as pairs of sender and step."""
        talk = self._talk
        for step in KEY_STEPS:
            if not talk.all_said(step):
                return self._missing(step)
        expected = self._missing(RECORD_COMMIT) if self.has_committed else ()
        for program in talk.programs:
            step = agree_step(program)
            if talk.party in talk.state.senders(step):
                expected = expected or self._missing(step)
            if self.confirmed(program) is not None:
                expected = expected or self._missing(confirm_step(program))
            if program in talk.state.opened and (
                talk.reads(program) or talk.public.masked(program)
            ):
                expected = expected or self._missing(partial_step(program))
        return expected

    def _missing(self, step: str) -> tuple[tuple[str, str], ...]:
        return tuple((sender, step) for sender in self._talk.silent(step))

    @property
    def last_part_given(self) -> bool:
        """True once this party has made all its decryption shares and needs no secret any more."""
        return all(program in self._talk.state.opened for program in self._talk.programs)

    def review_key(self, other: str) -> bytes:
        """Return the key of the texts of a review, which the two parties share.

        Raises OutOfStep if this party's keys are erased.
        """
        return self._talk.channel.review_key(other)

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
                f"{self._talk.party} has already confirmed a different result of {program}. It "
                "opens no second one: two openings could reveal the encrypted data."
            )
