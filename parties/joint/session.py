"""Several parties of a joint application in one process, with the steps of ApplicationSession.

Each party is a JointMember with its own folder and secret, and the parties communicate through the
server as they would from separate machines. Since it is one process, its user sees all records and
could combine all secrets. Parties that do not trust each other run separate processes
(`python -m parties`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic, perf_counter
from typing import Any, Self, TypeVar

from contract.http import LONGEST_WAIT, ApplicationState, ProgramState
from engines.interface import DECIDE, EXPLAIN, REASONS, Progress
from parties.connection import Connection
from parties.exclusive import WAIT_SECONDS, one_step, one_thread
from parties.joint.agreed import agree_and_ask
from parties.joint.codes import JoinCode, open_joint
from parties.joint.files import MemberFiles
from parties.joint.member import JointMember
from parties.joint.news import News
from parties.results import (
    Decision,
    ExplanationOpened,
    KeysMade,
    Message,
    ProgramRun,
    ReasonsOpened,
    SliceSent,
    require_reasons,
)
from parties.run_follower import RunFollower, Tell, look_at_run, require_result
from parties.store import TOKEN
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    ForbiddenSlot,
    OutOfStep,
    TrisealError,
    UnknownApplication,
)

PATIENCE_SECONDS = 20.0
"""Longest wait of a step for parties that are played elsewhere."""
Found = TypeVar("Found", bound=ExplanationOpened | ReasonsOpened)
log = logging.getLogger(__name__)

_ONLY_AFRESH = (AlreadySent, ApplicationExpired, UnknownApplication)


class JointSession:
    """The parties played in this process; create a session with `open`, `join` or `resume`.

    Steps of one application run one at a time, even if several threads or processes call them; only
    waiting for a run, `state` and `cancel` run alongside. `client_id` changes when a record is
    replaced; see `send`. Besides the errors that it names, every method raises
    those of JointMember.advance, and DataFolderInUse if another process holds a party's folder for
    too long.
    """

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        plays: Iterable[str],
        unclaimed: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self._public = connection.public
        self.client_id = client_id
        played = set(plays)
        self.plays = tuple(p for p in self._public.schema_.party_names if p in played)
        self.unclaimed = dict(unclaimed or {})
        """Join codes of the parties that this process does not play, for their own machines."""
        self.members: Mapping[str, JointMember] = {}
        """The members of the current or the last step."""
        self._news: News | None = None
        self._taken: dict[tuple[str, bool], int] = {}
        """Messages that the other members had sent when a member last advanced, in this step."""

    @classmethod
    def open(cls, connection: Connection, plays: Iterable[str] | None = None) -> Self:
        """Open an application and join it as the parties of `plays`, or as all parties if None."""
        names = connection.public.schema_.party_names
        played = list(names if plays is None else plays)
        for name in played:
            connection.public.schema_.party(name)
        opening = open_joint(connection.client)
        codes = {party: opening.codes[party] for party in played}
        others = {p: code for p, code in opening.codes.items() if p not in codes}
        _join(connection, opening.client_id, codes)
        return cls(connection, opening.client_id, codes, others)

    @classmethod
    def join(cls, connection: Connection, codes: Mapping[str, str]) -> Self:
        """Join an application opened elsewhere, with join `codes` by party."""
        client_id = JoinCode.parse(next(iter(codes.values()))).client_id
        _join(connection, client_id, codes)
        return cls(connection, client_id, codes)

    @classmethod
    def resume(cls, connection: Connection, client_id: str) -> Self:
        """Resume an application from the parties' files; raises UnknownApplication."""
        return cls(connection, client_id, connection.store.parties(client_id))

    def state(self) -> ApplicationState:
        """Return the application's state on the server."""
        return self.connection.client.state(self.client_id, self._token())

    def make_keys(self) -> KeysMade:
        """Make the keys with all parties; raises AlreadySent if there are keys.

        Raises OutOfStep if a party that is played elsewhere does not take part in time.
        """
        with self._step() as news:
            if self._ready():
                raise AlreadySent("This application has its keys. Start over to make new ones.")
            start = perf_counter()
            self._pump(self._ready)
            if not self._ready():
                raise OutOfStep(f"The keys need all parties; still missing: {self._awaited()}.")
            self._pump(lambda: False)  # the first party sends the public key to the server
            one = next(iter(self.members.values()))
            return KeysMade(
                client_id=self.client_id,
                holder="",
                shared_with=(),
                secret_bytes=one.secret_bytes,
                evaluation_bytes=one.public_key_bytes,
                seconds=perf_counter() - start,
                messages=news.take(self.members),
                joint=True,
                parts_of=self.plays,
                fingerprint=one.fingerprint or "",
            )

    def send(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send one party's record, a mapping of its columns to values.

        The ciphertexts are uploaded once all parties have committed to theirs, by the last call.
        If the party has sent another record before, or a party has agreed to the decision (or the
        application has expired), and all parties are played here, a new application is opened with
        new keys, under which the other parties' records are encrypted again. Then the old one is
        erased.
        Raises UnknownParty, UnknownColumn, ValueOutOfDomain, OutOfStep, ForbiddenSlot.
        """
        self._public.schema_.party(party)
        self.connection.layout.encode_party(party, record)
        with self._step() as news:
            try:
                member = self._member(party)
                sent = member.send_record(record)
                if all(one.has_sent for one in self.members.values()):
                    self._pump(lambda: True)  # once is enough to learn that all have committed
                if member.upload is not None:
                    sent = sent.uploaded(member.upload)
                return replace(sent, messages=news.take(self.members))
            except _ONLY_AFRESH:
                if not self._plays_all:
                    raise
                return self._send_afresh(party, record)

    def is_sent(self, party: str, record: Mapping[str, Any]) -> bool:
        """Return True if the party has sent a record with the same encoding as this one."""
        with self._step():
            return self._member(party).is_sent(record)

    def run(
        self, program: str = DECIDE, progress: Progress | None = None, news: Tell | None = None
    ) -> ProgramRun:
        """Agree as every party played here, and have the server evaluate the program.

        A run that stopped is requested again, and a queued or active one is waited for.
        `progress` and `news` are called from this thread. Raises OutOfStep that names the missing
        steps, RunCancelled, and the error that the run failed with.
        """
        start = perf_counter()
        follower = RunFollower(program, self.connection.client.timeout, progress, news)
        asked = _Asked()
        found = follower.patiently(lambda: self._run(follower, asked))
        waited = perf_counter() - start
        return ProgramRun.of(self.client_id, program, found, waited, tuple(asked.messages))

    def cancel(self, program: str = DECIDE) -> None:
        """Cancel a queued or active run; the agreement remains valid, so it can be run again."""
        self.connection.client.cancel(self.client_id, self._token(), program)

    def open_decision(self) -> Decision:
        """Open the decision with all parties; raises OutOfStep before the run."""
        with self._step() as news:
            reader = self._reader()
            if reader.decision is None:
                self._require_records(DECIDE)
                self._open(DECIDE, lambda: reader.decision is not None)
            if reader.decision is None:
                raise OutOfStep(
                    f"There is no decision to open yet: {self._awaited() or 'run it first'}."
                )
            self._pump(lambda: False)
            return replace(reader.decision, messages=news.take(self.members))

    def explain(
        self, progress: Progress | None = None, news: Tell | None = None
    ) -> ExplanationOpened:
        """Agree to, run and open the explanation, on the ciphertexts already sent.

        Raises OutOfStep before the decision is opened, and ForbiddenSlot if the explained column
        belongs to a party that is not played here or does not learn the result.
        """
        owner = self._public.schema_.explained_party
        with self._step():
            reader = self.members.get(owner)
            if reader is None or not reader.reads(EXPLAIN):
                raise ForbiddenSlot(
                    f"The explanation is about a column of {owner}: only {owner} can read it."
                )
            if reader.decision is None:
                raise OutOfStep("An explanation needs an opened decision: run and open it first.")
        run = self.run(EXPLAIN, progress, news)
        return self._opened(run, owner, lambda member: member.explanation, "The explanation is")

    def reasons(self, progress: Progress | None = None, news: Tell | None = None) -> ReasonsOpened:
        """Agree to, run and open the reasons, on the ciphertexts already sent.

        Raises EngineUnavailable if the model states none, OutOfStep before the decision is opened,
        and ForbiddenSlot if no party that is played here learns them.
        """
        require_reasons(self._public)
        with self._step():
            reader = next((one for one in self.members.values() if one.reads(REASONS)), None)
            if reader is None:
                raise ForbiddenSlot("No party that is played here learns the reasons.")
            if reader.decision is None:
                raise OutOfStep("Reasons need an opened decision: run and open it first.")
        run = self.run(REASONS, progress, news)
        return self._opened(run, reader.party, lambda member: member.reasons, "The reasons are")

    def _opened(
        self, run: ProgramRun, party: str, read: Callable[[JointMember], Found | None], named: str
    ) -> Found:
        """Open the result of a run, and return what `party` reads of it, with all messages.

        Raises OutOfStep, which begins with `named`, if it does not open in time.
        """
        start = perf_counter()
        with self._step() as since:
            reader = self._member(party)
            self._open(run.program, lambda: read(reader) is not None)
            found = read(reader)
            if found is None:
                raise OutOfStep(f"{named} not open yet: {self._awaited()}.")
            self._pump(lambda: False)
            return replace(
                found,
                seconds=perf_counter() - start,
                messages=(*run.messages, *since.take(self.members)),
            )

    def erase(self) -> None:
        """Erase the application on the server, and the files of the parties played here.

        If the server reports an error, the files stay, so that the call can be repeated.
        """
        with one_step(self.connection.store, self.client_id, self.plays):
            with suppress(UnknownApplication, ApplicationExpired):
                self.connection.client.erase(self.client_id, self._token())
            self._erase_files()

    def discard(self) -> None:
        """Erase the files here, and the application on the server if it can be reached.

        Does nothing if the files have already been erased.
        """
        with (
            suppress(UnknownApplication),
            one_step(self.connection.store, self.client_id, self.plays),
        ):
            try:
                self.connection.client.erase(self.client_id, self._token())
            except TrisealError as error:
                # The server's copy expires by itself, but the secrets here must not be left behind.
                log.info("the server did not erase an application: %s", error.message)
            self._erase_files()

    def _erase_files(self) -> None:
        for party in self.plays:
            self.connection.store.erase_party(self.client_id, party)

    @contextmanager
    def _step(self) -> Iterator[News]:
        """Lock and resume all members; their changes are in the files when the step ends."""
        connection, client_id = self.connection, self.client_id
        with one_thread(connection.store, client_id), ExitStack() as played:
            connection.store.parties(client_id)  # it may have been erased or replaced
            members = {
                # The same order everywhere prevents deadlocks.
                party: played.enter_context(
                    JointMember.resume(connection, client_id, party, WAIT_SECONDS)
                )
                for party in sorted(self.plays)
            }
            self.members = {party: members[party] for party in self.plays}
            self._taken = {}
            if self._news is None:
                self._news = News(self.members)
            yield self._news

    def _run(self, follower: RunFollower, asked: _Asked) -> ProgramState:
        """Agree, request the run and wait for its end; may be repeated after a temporary error.

        Raises OutOfStep if not all agree, RunCancelled, and the error that the run failed with.
        """
        program, client = follower.program, self.connection.client
        with self._step() as news:
            try:
                self._require_records(program)
                if not all(member.records_arrived for member in self.members.values()):
                    self._pump(lambda: True, False)  # others may have committed since
                found = agree_and_ask(self.members, program, self._pump, self._awaited, asked.asked)
            finally:
                asked.messages += news.take(self.members)
        asked.asked = True
        while found.under_way:
            follower.report(found)
            found = look_at_run(client, self.client_id, self._token(), follower)
        return require_result(program, found)

    def _token(self) -> str:
        """Return the current token of a party played here; another process may have renewed it."""
        return MemberFiles(self.connection.store, self.client_id, self.plays[0]).token()

    @property
    def _plays_all(self) -> bool:
        return set(self.plays) == set(self._public.schema_.party_names)

    def _member(self, party: str) -> JointMember:
        member = self.members.get(party)
        if member is None:
            raise ForbiddenSlot(f"This process does not play {party}.")
        return member

    def _reader(self) -> JointMember:
        for member in self.members.values():
            if member.is_reader:
                return member
        raise ForbiddenSlot("No party that is played here learns the result.")

    def _ready(self) -> bool:
        return all(member.keys_ready for member in self.members.values())

    def _awaited(self) -> str:
        awaited = {name for member in self.members.values() for name in member.awaits}
        parties = [name for name in self._public.schema_.party_names if name in awaited]
        return ", ".join([*parties, *self._awaited_witnesses()])

    def _awaited_witnesses(self) -> list[str]:
        names = {n: None for member in self.members.values() for n in member.awaited_witnesses}
        return [f"the witness {name}" for name in names]

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

    def _open(self, program: str, done: Callable[[], bool]) -> None:
        """Advance all members until `done`; waits for the program's comparison if it has one.

        Raises the error that the comparison failed with, and RunCancelled.
        """
        self._pump(done)
        final, one = self._public.final(program), next(iter(self.members.values()))
        if final == program:
            return
        while not done() and one.state is not None and one.state.programs[final].under_way:
            one.advance(LONGEST_WAIT)
            self._taken = {}
            self._pump(done)
        if not done() and one.state is not None and one.state.programs[final].stopped:
            require_result(final, one.state.programs[final])

    def _pump(self, done: Callable[[], bool], answer: bool = True) -> None:
        """Advance all members until `done`, or until nothing changes any more."""
        start = monotonic()
        while True:
            moved = [self._advance(member, answer) for member in self.members.values()]
            if done():
                return
            if any(moved):
                continue
            others = not self._plays_all or (answer and self._awaited_witnesses())
            left = start + (PATIENCE_SECONDS if others else 0.0) - monotonic()
            if left <= 0 or not self._awaited():
                return
            next(iter(self.members.values())).advance(min(left, 1.0), answer)
            self._taken.clear()

    def _advance(self, member: JointMember, answer: bool) -> bool:
        """Advance a member; if all are played here, only if another has acted since."""
        others = sum(one.given for one in self.members.values() if one is not member)
        if self._plays_all and self._taken.get((member.party, answer)) == others:
            return False
        changed = member.advance(0.0, answer)
        self._taken[member.party, answer] = others
        return changed

    def _send_afresh(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Send the record in a new application, which is complete before the old one is erased."""
        new = type(self).open(self.connection)
        try:
            keys = new.make_keys()
            messages = list(keys.messages)
            for other, member in self.members.items():
                kept = member.record if member.has_sent else None
                if other != party and kept is not None:
                    messages += new.send(other, kept).messages
            sent = new.send(party, record)
        except BaseException:
            new.discard()
            raise
        for member in self.members.values():
            member.discard()
        self.client_id, self.members, self._news = new.client_id, new.members, new._news
        return replace(sent, fresh=True, messages=(*messages, *sent.messages), keys=keys)


@dataclass
class _Asked:
    """The progress of one call of `run`: whether it has requested the run, and its messages."""

    asked: bool = False
    messages: list[Message] = field(default_factory=list)


def _join(connection: Connection, client_id: str, codes: Mapping[str, str]) -> None:
    """Join with every code; on an error, erase the files of the parties that joined here."""
    store = connection.store
    new: list[str] = []
    with one_thread(store, client_id):
        try:
            for party, code in codes.items():
                joined = store.has(client_id, party, TOKEN)
                JointMember.join(connection, party, code, WAIT_SECONDS).close()
                if not joined:
                    new.append(party)
        except BaseException:
            for party in new:
                store.erase_party(client_id, party)
            raise
