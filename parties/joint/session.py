"""Several parties of a joint application in one process, with the steps of ApplicationSession.

Each party is a JointMember with a folder and a secret of its own, and they speak through the
server as they would from three machines. But it is one process: whoever runs it sees all records
and could bring all secrets together. Parties that must not trust each other run apart
(`python -m parties`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic, perf_counter
from typing import Any, Self

from contract.http import ApplicationState
from engines.interface import DECIDE, EXPLAIN, Progress
from parties.connection import Connection
from parties.exclusive import WAIT_SECONDS, one_step, one_thread
from parties.joint.agreed import agree_and_ask
from parties.joint.codes import JoinCode, open_joint
from parties.joint.files import MemberFiles
from parties.joint.member import JointMember
from parties.joint.news import News
from parties.results import Decision, ExplanationOpened, KeysMade, Message, ProgramRun, SliceSent
from parties.run_follower import RunFollower, Tell, look_at_run, seconds_of
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
"""How long a step waits for parties that are played elsewhere."""
log = logging.getLogger(__name__)

_ONLY_AFRESH = (AlreadySent, ApplicationExpired, UnknownApplication)


class JointSession:
    """The side of the parties played here; `open`, `join` or `resume` one.

    Steps of one application follow one another, in however many threads and processes they are
    called; only a run is waited for, looked at and cancelled meanwhile. `client_id` changes when a
    record is replaced after the agreement: see `send`. Every method raises what
    JointMember.advance raises, and DataFolderInUse where another process has a party's folder for
    long, beside what it names itself.
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
        """Join codes of parties that this process does not play: for their own machines."""
        self.members: Mapping[str, JointMember] = {}
        """The members as the last step left them."""
        self._news: News | None = None
        self._taken: dict[tuple[str, bool], int] = {}
        """What the other members had given the server when a member last asked, in this step."""

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
        _join(connection, opening.client_id, codes)
        return cls(connection, opening.client_id, codes, others)

    @classmethod
    def join(cls, connection: Connection, codes: Mapping[str, str]) -> Self:
        """Join an application opened elsewhere; `codes` by party, as it gave them."""
        client_id = JoinCode.parse(next(iter(codes.values()))).client_id
        _join(connection, client_id, codes)
        return cls(connection, client_id, codes)

    @classmethod
    def resume(cls, connection: Connection, client_id: str) -> Self:
        """Pick up an application from the parties' files; raises UnknownApplication."""
        return cls(connection, client_id, connection.store.parties(client_id))

    def state(self) -> ApplicationState:
        """Where the application stands on the server."""
        return self.connection.client.state(self.client_id, self._token())

    def make_keys(self) -> KeysMade:
        """Make the keys with all parties; raises AlreadySent where there are keys.

        Raises OutOfStep where a party that is played elsewhere does not do its part in time.
        """
        with self._step() as news:
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
                messages=news.take(self.members),
                joint=True,
                parts_of=self.plays,
                fingerprint=one.fingerprint or "",
            )

    def send(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send one party's record, a mapping of its columns to values.

        Where a party has agreed to the decision already (or the application has expired) and all
        parties are played here, a fresh application is opened: with new keys, since keys live for
        one application, and the others' records encrypted again. The old one is erased after
        that. Raises UnknownParty, UnknownColumn, ValueOutOfDomain, OutOfStep, ForbiddenSlot.
        """
        self._public.schema_.party(party)
        self.connection.layout.encode_party(party, record)
        with self._step() as news:
            try:
                sent = self._member(party).send_record(record)
                news.take(self.members)
            except _ONLY_AFRESH:
                if not self._plays_all:
                    raise
                return self._send_afresh(party, record)
        return sent

    def is_sent(self, party: str, record: Mapping[str, Any]) -> bool:
        """Whether the party has sent just this record, bin for bin and value for value."""
        with self._step():
            return self._member(party).is_sent(record)

    def run(
        self, program: str = DECIDE, progress: Progress | None = None, news: Tell | None = None
    ) -> ProgramRun:
        """Agree as every party played here, and have the server evaluate the program.

        A run that stopped is asked for again, and one that is under way waited for, whoever asked
        for it; `progress` and `news` are called from this thread. Raises OutOfStep that names what
        is missing, RunCancelled, and what the run failed with.
        """
        start = perf_counter()
        follower = RunFollower(program, self.connection.client.timeout, progress, news)
        asked = _Asked()
        seconds = follower.patiently(lambda: self._run(follower, asked))
        waited = perf_counter() - start
        return ProgramRun(self.client_id, program, seconds, waited, tuple(asked.messages))

    def cancel(self, program: str = DECIDE) -> None:
        """End a run that waits or is under way; the agreement stands, it may be run again."""
        self.connection.client.cancel(self.client_id, self._token(), program)

    def open_decision(self) -> Decision:
        """Open the decision with all parties; raises OutOfStep before the run."""
        with self._step() as news:
            reader = self._reader()
            if reader.decision is None:
                self._require_records(DECIDE)
                self._pump(lambda: reader.decision is not None)
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

        Raises OutOfStep before the decision is opened, ForbiddenSlot where the explained column
        belongs to a party that is not played here or does not learn the answer.
        """
        owner = self._public.schema_.explained_party
        with self._step():
            reader = self.members.get(owner)
            if reader is None or not reader.is_reader:
                raise ForbiddenSlot(
                    f"The explanation is about a column of {owner}: only it can read it."
                )
            if reader.decision is None:
                raise OutOfStep("An explanation needs an opened decision: run and open it first.")
        run = self.run(EXPLAIN, progress, news)
        start = perf_counter()
        with self._step() as since:
            reader = self._member(owner)
            self._pump(lambda: reader.explanation is not None)
            found = reader.explanation
            if found is None:
                raise OutOfStep(f"The explanation is not open yet: {self._awaited()}.")
            self._pump(lambda: False)
            return replace(
                found,
                run_seconds=run.seconds,
                seconds=perf_counter() - start,
                messages=(*run.messages, *since.take(self.members)),
            )

    def erase(self) -> None:
        """Erase the application on the server and the files here of the parties played here.

        An error of the server leaves the files, so that it can be tried again.
        """
        with one_step(self.connection.store, self.client_id, self.plays):
            with suppress(UnknownApplication, ApplicationExpired):
                self.connection.client.erase(self.client_id, self._token())
            self._erase_files()

    def discard(self) -> None:
        """Erase the files here, and the application on the server if it can be reached.

        Where they are erased already, nothing is done.
        """
        with (
            suppress(UnknownApplication),
            one_step(self.connection.store, self.client_id, self.plays),
        ):
            try:
                self.connection.client.erase(self.client_id, self._token())
            except TrisealError as error:
                # On the server it expires by itself; the secrets here must not be left behind.
                log.info("the server did not erase an application: %s", error.message)
            self._erase_files()

    def _erase_files(self) -> None:
        for party in self.plays:
            self.connection.store.erase_party(self.client_id, party)

    @contextmanager
    def _step(self) -> Iterator[News]:
        """Play the members alone; what they do is in the files when it ends."""
        connection, client_id = self.connection, self.client_id
        with one_thread(connection.store, client_id), ExitStack() as played:
            connection.store.parties(client_id)  # erased since, or opened afresh
            members = {
                # In the same order everywhere, so that no two processes wait for each other.
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

    def _run(self, follower: RunFollower, asked: _Asked) -> float:
        """Agree, ask, and wait for the run's end; may be called again after an error that passes.

        Raises OutOfStep where not all agree, RunCancelled, and what the run failed with.
        """
        program, client = follower.program, self.connection.client
        with self._step() as news:
            try:
                self._require_records(program)
                found = agree_and_ask(self.members, program, self._pump, self._awaited, asked.asked)
            finally:
                asked.messages += news.take(self.members)
        asked.asked = True
        while found.under_way:
            follower.report(found)
            found = look_at_run(client, self.client_id, self._token(), follower)
        return seconds_of(program, found)

    def _token(self) -> str:
        """The token of a party played here, which may be renewed by another process meanwhile."""
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
            moved = [self._advance(member, answer) for member in self.members.values()]
            if done():
                return
            if any(moved):
                continue
            left = deadline - monotonic()
            if left <= 0 or not self._awaited():
                return
            next(iter(self.members.values())).advance(min(left, 1.0), answer)

    def _advance(self, member: JointMember, answer: bool) -> bool:
        """Advance a member; if all are played here, only if another has acted since last time."""
        others = sum(one.given for one in self.members.values() if one is not member)
        if self._plays_all and self._taken.get((member.party, answer)) == others:
            return False
        changed = member.advance(0.0, answer)
        self._taken[member.party, answer] = others
        return changed

    def _send_afresh(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Send it in a new application, complete before the old one is erased; within a step."""
        new = type(self).open(self.connection)
        try:
            keys = new.make_keys()
            messages = list(keys.messages)
            for other, member in self.members.items():
                kept = member.record
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
    """What one call for a run has done so far: whether it has asked, and what it has sent."""

    asked: bool = False
    messages: list[Message] = field(default_factory=list)


def _join(connection: Connection, client_id: str, codes: Mapping[str, str]) -> None:
    """Join with every code; what was joined before one is refused is given up again."""
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
