"""Several parties of a joint application in one process, with the steps of ApplicationSession.

Each party is a JointMember with a folder and a secret of its own, and they speak through the
server as they would from three machines. But it is one process: whoever runs it sees all records
and could bring all secrets together. Parties that must not trust each other run apart
(`python -m parties`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from time import monotonic, perf_counter
from typing import Any, Self

from engines.interface import DECIDE, EXPLAIN, Progress
from parties.connection import Connection
from parties.joint.agreed import AgreedRun
from parties.joint.codes import open_joint
from parties.joint.member import JointMember
from parties.joint.news import News
from parties.messages import ApplicationState
from parties.steps import Decision, ExplanationOpened, KeysMade, Message, ProgramRun, SliceSent
from parties.watch import RunFollower, Tell
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    ForbiddenSlot,
    OutOfStep,
    UnknownApplication,
)

PATIENCE_SECONDS = 20.0
"""How long a step waits for parties that are played elsewhere."""
_ONLY_AFRESH = (AlreadySent, ApplicationExpired, UnknownApplication)


class JointSession:
    """The side of the parties played here; `open`, `join` or `resume` one.

    `client_id` changes when a record is replaced after the agreement: see `send`. Every method
    raises what JointMember.advance raises, beside what it names itself.
    """

    def __init__(
        self,
        connection: Connection,
        members: Mapping[str, JointMember],
        unclaimed: Mapping[str, str] | None = None,
    ) -> None:
        self._connection, self._public = connection, connection.public
        self._adopt(members)
        self.unclaimed = dict(unclaimed or {})
        """Join codes of parties that this process does not play: for their own machines."""

    @classmethod
    def open(cls, connection: Connection, plays: Iterable[str] | None = None) -> Self:
        """Open an application and join the parties of `plays` (every one where None)."""
        names = connection.public.schema_.party_names
        played = list(names if plays is None else plays)
        for name in played:
            connection.public.schema_.party(name)
        opening = open_joint(connection.client)
        codes = {party: opening.codes[party] for party in played}
        others = {p: code for p, code in opening.codes.items() if p not in codes}
        return cls(connection, _joined(connection, codes), others)

    @classmethod
    def join(cls, connection: Connection, codes: Mapping[str, str]) -> Self:
        """Join an application opened elsewhere; `codes` by party, as it gave them."""
        return cls(connection, _joined(connection, codes))

    @classmethod
    def resume(cls, connection: Connection, client_id: str) -> Self:
        """Pick up an application from the parties' files; raises UnknownApplication."""
        parties = connection.store.parties(client_id)
        return cls(connection, {p: JointMember.resume(connection, client_id, p) for p in parties})

    @property
    def client_id(self) -> str:
        return next(iter(self.members.values())).client_id

    @property
    def plays(self) -> tuple[str, ...]:
        return tuple(self.members)

    def state(self) -> ApplicationState:
        """Where the application stands on the server."""
        self._pump(lambda: True)
        state = next(iter(self.members.values())).state
        if state is None:
            raise OutOfStep("The server has not said yet where the application stands.")
        return state

    def make_keys(self) -> KeysMade:
        """Make the keys with all parties; raises AlreadySent where there are keys.

        Raises OutOfStep where a party that is played elsewhere does not do its part in time.
        """
        if self._ready():
            raise AlreadySent("This application has its keys. Start over to make new ones.")
        start = perf_counter()
        self._pump(self._ready)
        if not self._ready():
            raise OutOfStep(f"The keys need all parties; not there yet: {self._awaited()}.")
        self._pump(lambda: False)  # the first party gives the server the public key
        one = next(iter(self.members.values()))
        return KeysMade(
            client_id=self.client_id,
            holder="",
            shared_with=(),
            secret_bytes=one.secret_bytes,
            evaluation_bytes=one.public_key_bytes,
            seconds=perf_counter() - start,
            messages=self._news.take(),
            joint=True,
            parts_of=self.plays,
            fingerprint=one.fingerprint or "",
        )

    def send(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send one party's record, a mapping of its columns to values.

        Where a party has agreed to the decision already (or the application has expired) and all
        parties are played here, a fresh application is opened: with new keys, since keys live for
        one application, and the others' records encrypted again. Raises UnknownParty,
        UnknownColumn, ValueOutOfDomain, OutOfStep, ForbiddenSlot.
        """
        self._public.schema_.party(party)
        self._connection.layout.encode_party(party, record)
        again: tuple[Message, ...] = ()
        keys: KeysMade | None = None
        try:
            sent = self._member(party).send_record(record)
        except _ONLY_AFRESH:
            if not self._plays_all:
                raise
            keys, again = self._start_afresh(party)
            sent = self._member(party).send_record(record)
        self._news.take()
        messages = (*again, *sent.messages)
        return replace(sent, fresh=keys is not None, messages=messages, keys=keys)

    def is_sent(self, party: str, record: Mapping[str, Any]) -> bool:
        """Whether the party has sent just this record, bin for bin and value for value."""
        return self._member(party).is_sent(record)

    def run(
        self, program: str = DECIDE, progress: Progress | None = None, news: Tell | None = None
    ) -> ProgramRun:
        """Agree as every party played here, and have the server evaluate the program.

        A run that stopped is asked for again; `progress` and `news` are called from this thread.
        Raises OutOfStep that names what is missing, RunCancelled, and what the run failed with.
        """
        self._require_records(program)
        start = perf_counter()
        follower = RunFollower(program, self._connection.client.timeout, progress, news)
        run = AgreedRun(self.members, follower, self._pump, self._awaited)
        seconds = follower.patiently(run.seconds)
        waited = perf_counter() - start
        return ProgramRun(self.client_id, program, seconds, waited, self._news.take())

    def cancel(self, program: str = DECIDE) -> None:
        """End a run that waits or is under way; the agreement stands, it may be run again."""
        next(iter(self.members.values())).cancel(program)

    def open_decision(self) -> Decision:
        """Open the decision with all parties; raises OutOfStep before the run."""
        reader = self._reader()
        if reader.decision is None:
            self._require_records(DECIDE)
            self._pump(lambda: reader.decision is not None)
        if reader.decision is None:
            raise OutOfStep(
                f"There is no decision to open yet: {self._awaited() or 'run it first'}."
            )
        self._pump(lambda: False)
        return replace(reader.decision, messages=self._news.take())

    def explain(
        self, progress: Progress | None = None, news: Tell | None = None
    ) -> ExplanationOpened:
        """Agree to, run and open the explanation, on the ciphertexts already sent.

        Raises OutOfStep before the decision is opened, ForbiddenSlot where the explained column
        belongs to a party that is not played here or does not learn the answer.
        """
        owner = self._public.schema_.explained_party
        reader = self.members.get(owner)
        if reader is None or not reader.is_reader:
            raise ForbiddenSlot(
                f"The explanation is about a column of {owner}: only it can read it."
            )
        if reader.decision is None:
            raise OutOfStep("An explanation needs an opened decision: run and open it first.")
        run = self.run(EXPLAIN, progress, news)
        start = perf_counter()
        self._pump(lambda: reader.explanation is not None)
        found = reader.explanation
        if found is None:
            raise OutOfStep(f"The explanation is not open yet: {self._awaited()}.")
        self._pump(lambda: False)
        return replace(
            found,
            run_seconds=run.seconds,
            seconds=perf_counter() - start,
            messages=(*run.messages, *self._news.take()),
        )

    def erase(self) -> None:
        """Erase the application on the server and the files here of the parties played here."""
        for member in self.members.values():
            member.erase()

    def discard(self) -> None:
        """Erase the files here, and the application on the server if it can be reached."""
        for member in self.members.values():
            member.discard()

    @property
    def _plays_all(self) -> bool:
        return set(self.plays) == set(self._public.schema_.party_names)

    def _adopt(self, members: Mapping[str, JointMember]) -> None:
        names = self._public.schema_.party_names
        self.members = {name: members[name] for name in names if name in members}
        self._news = News(self.members)

    def _member(self, party: str) -> JointMember:
        member = self.members.get(party)
        if member is None:
            raise ForbiddenSlot(f"This process does not play {party}.")
        return member

    def _reader(self) -> JointMember:
        for member in self.members.values():
            if member.is_reader:
                return member
        raise ForbiddenSlot("No party that is played here learns the answer.")

    def _ready(self) -> bool:
        return all(member.keys_ready for member in self.members.values())

    def _awaited(self) -> str:
        awaited = {name for member in self.members.values() for name in member.awaits}
        return ", ".join(name for name in self._public.schema_.party_names if name in awaited)

    def _require_records(self, program: str) -> None:
        lacking = [
            f"the {self._public.schema_.party(member.party).label} has to encrypt and send its "
            "record"
            for member in self.members.values()
            if not member.has_sent
        ]
        if not self._ready():
            raise OutOfStep(f"{program} cannot run yet: the keys have to be made first.")
        if lacking:
            raise OutOfStep(f"The server cannot run {program} yet: {'; '.join(lacking)}.")

    def _pump(self, done: Callable[[], bool], answer: bool = True) -> None:
        """Advance all members until `done`, or until nothing moves any more."""
        deadline = monotonic() + (0.0 if self._plays_all else PATIENCE_SECONDS)
        while True:
            moved = [member.advance(0.0, answer) for member in self.members.values()]
            if done():
                return
            if any(moved):
                continue
            left = deadline - monotonic()
            if left <= 0 or not self._awaited():
                return
            next(iter(self.members.values())).advance(min(left, 1.0), answer)

    def _start_afresh(self, changed: str) -> tuple[KeysMade, tuple[Message, ...]]:
        new = type(self).open(self._connection)
        try:
            keys = new.make_keys()
            messages = list(keys.messages)
            for party, member in self.members.items():
                record = member.record
                if party != changed and record is not None:
                    messages += new.send(party, record).messages
        except BaseException:
            new.discard()
            raise
        self.discard()
        self._adopt(new.members)
        return keys, tuple(messages)


def _joined(connection: Connection, codes: Mapping[str, str]) -> dict[str, JointMember]:
    return {party: JointMember.join(connection, party, code) for party, code in codes.items()}
