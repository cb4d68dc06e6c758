"""The application's state machine: who may do what, and when.

    open ──all slots for `decide`──► ready ──► running ──► decided ──► running ──► explained

Every method checks in the order of the HTTP contract: the id's form, whether the application is
there and its time not over, the token, the names, whose slot it is, and last whose turn. No value
from outside becomes part of a path: ids are matched with a pattern, every other name is looked up
in the model's own lists. Nothing here knows of HTTP; the methods are synchronous and thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, exists, update
from sqlalchemy.orm import Session, aliased

from engines.interface import PublicModel, Slot, slot_of
from service.answers import ApplicationState, Opened, moment
from service.credentials import bearer_of, digest, matches, new_id, new_secret, require_viewer
from service.records import (
    DONE,
    FAILED,
    IDLE,
    RUNNING,
    ApplicationRecord,
    PartyRecord,
    RunRecord,
    UploadRecord,
)
from service.rules import (
    BUSY,
    blobs_of,
    count_live,
    describe,
    live,
    readers_of,
    require_model,
    require_open_slot,
    require_turn,
    run_of,
    uploads_of,
)
from service.storage import Storage
from service.traffic import SERVER, Way, fetched, note
from utils.errors import (
    AlreadyRunning,
    ForbiddenSlot,
    NotAuthorised,
    OutOfStep,
    TooManyApplications,
    UnknownApplication,
    UnknownName,
)

_NO_PROGRESS: Mapping[tuple[str, str], float] = {}

Messages = dict[tuple[str, str], Path]
"""The files of an application's messages, keyed by (party, file name)."""


@dataclass(frozen=True)
class Upload:
    """A blob that has arrived: its name in the storage, its bytes and their SHA-256."""

    blob: str
    size: int
    sha256: str


class Applications:
    """All applications of one deployment.

    Besides the errors each method names, all but `open` raise InvalidRequest for an id that is
    not 32 hexadecimal digits, UnknownApplication, and ApplicationExpired.
    """

    def __init__(
        self,
        storage: Storage,
        public: PublicModel,
        *,
        hours: float,
        maximum: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._public = public
        self._seconds = hours * 3600
        self._maximum = maximum
        self._clock = clock

    def open(self, readers: list[str] | None = None) -> Opened:
        """Open an application whose answer `readers` learn, all parties where None.

        Raises UnknownParty, InvalidRequest, TooManyApplications.
        """
        now = self._clock()
        client_id, watch_token = new_id(), new_secret()
        learn = readers_of(self._public, readers)
        codes = {party: new_secret() for party in self._public.schema_.party_names}
        with self._storage.write() as session:
            if count_live(session, now) >= self._maximum:
                raise TooManyApplications(
                    f"The server holds {self._maximum} applications, which is all it may "
                    "(TRISEAL_MAXIMUM_APPLICATIONS); try again when some have ended."
                )
            application = ApplicationRecord(
                client_id=client_id,
                model_version=self._public.model_version,
                created=now,
                expires=now + self._seconds,
                readers=learn,
                watch_digest=digest(watch_token),
            )
            application.parties = [
                PartyRecord(party=party, code_digest=digest(code)) for party, code in codes.items()
            ]
            application.runs = [RunRecord(program=name) for name in self._public.programs]
            session.add(application)
        expires = moment(now + self._seconds)
        return Opened(
            client_id=client_id,
            expires_at=expires,
            join_codes=codes,
            watch_token=watch_token,
            readers=learn,
        )

    def join(self, client_id: str, party: str, code: str) -> str:
        """The party's token, for its join code, once; raises UnknownParty, NotAuthorised."""
        token = new_secret()
        with self._storage.write() as session:
            application = self._live(session, client_id)
            self._public.schema_.party(party)
            seat = next((p for p in application.parties if p.party == party), None)
            if seat is None or not matches(code, seat.code_digest) or seat.token_digest is not None:
                raise NotAuthorised(
                    f"This join code is not the one of {party}, or it has been used. Whoever "
                    "opened the application has the codes; a new application has new ones."
                )
            seat.token_digest = digest(token)
        return token

    def admit(self, client_id: str, token: str | None, party: str, file_name: str) -> Slot:
        """The slot that this token may fill now.

        Raises NotAuthorised, UnknownParty, ForbiddenSlot, UnknownName, AlreadyRunning,
        AlreadySent, and ForeignMessage where the application belongs to another model.
        """
        with self._storage.read() as session:
            application = self._live(session, client_id)
            owner = bearer_of(application, token)
            self._public.schema_.party(party)
            if owner != party:
                raise ForbiddenSlot(f"This token is {owner}'s; it opens no slot of {party}.")
            slot = slot_of(self._public.slots, party, file_name)
            if slot is None:
                names = ", ".join(s.file_name for s in self._public.slots if s.party == party)
                raise UnknownName(
                    f"{party} has no slot {file_name[:40]!r}; it has: {names or 'none'}."
                )
            require_model(application, self._public)
            require_open_slot(application, slot)
            return slot

    def accept(self, client_id: str, slot: Slot, upload: Upload) -> ApplicationState:
        """Make a checked upload the slot's content, in place of an earlier one.

        Raises as `admit` does, since a run may have begun meanwhile; the blob then has no owner.
        """
        with self._storage.write() as session:
            application = self._live(session, client_id)
            require_open_slot(application, slot)
            record = uploads_of(application).get((slot.party, slot.file_name))
            replaced = [] if record is None else [record.blob]
            if record is None:
                record = UploadRecord(party=slot.party, file_name=slot.file_name)
                application.uploads.append(record)
            record.blob, record.size, record.sha256 = upload.blob, upload.size, upload.sha256
            self._note(session, client_id, (slot.party, SERVER), slot.file_name, upload.size)
            state = describe(application, self._public, _NO_PROGRESS)
        self._storage.remove_blobs(replaced)
        return state

    def begin_run(self, client_id: str, token: str | None, program: str) -> Messages | float:
        """Claim a program's run: its messages, or its seconds where it has been done already.

        Raises NotAuthorised, UnknownName, AlreadyRunning, OutOfStep, ForeignMessage.
        """
        with self._storage.write() as session:
            application = self._live(session, client_id)
            party = bearer_of(application, token)
            run = run_of(application, program)
            if run.status == DONE:
                return float(run.seconds or 0.0)
            require_model(application, self._public)
            require_turn(application, self._public, program)
            # The database decides, so that two servers on one database could not both win.
            other = aliased(RunRecord)
            claim = (
                update(RunRecord)
                .where(
                    RunRecord.client_id == client_id,
                    RunRecord.program == program,
                    RunRecord.status.in_((IDLE, FAILED)),
                    ~exists().where(other.client_id == client_id, other.status == RUNNING),
                )
                .values(status=RUNNING, error=None)
                .returning(RunRecord.program)
            )
            if session.scalar(claim) is None:
                raise AlreadyRunning(BUSY)
            self._note(session, client_id, (party, SERVER), f"run {program}", 0)
            return self._messages(application, program)

    def finish_run(self, client_id: str, program: str, seconds: float, result: bytes) -> None:
        """Keep a run's sealed result and the seconds of its evaluation."""
        blob = self._storage.write_blob(result)
        try:
            with self._storage.write() as session:
                run = run_of(self._live(session, client_id), program)
                run.status, run.seconds, run.error = DONE, seconds, None
                run.blob, run.size = blob, len(result)
                self._note(session, client_id, (SERVER, None), f"ran {program}", len(result))
        except BaseException:
            self._storage.remove_blobs([blob])
            raise

    def fail_run(self, client_id: str, program: str, message: str) -> None:
        """Give a run up; it may begin again, and its slots may be sent again."""
        with self._storage.write() as session:
            run = run_of(self._live(session, client_id), program)
            run.status, run.error = FAILED, message
            self._note(session, client_id, (SERVER, None), f"failed {program}", 0)

    def output(self, client_id: str, token: str | None, program: str) -> bytes:
        """The sealed result of a run; raises NotAuthorised, UnknownName, OutOfStep."""
        with self._storage.read() as session:
            application = self._live(session, client_id)
            party = bearer_of(application, token)
            run = run_of(application, program)
            if run.status != DONE or run.blob is None:
                raise OutOfStep(f"There is no result of {program} yet: run {program} first.")
            blob, what = self._storage.blob(run.blob), f"result of {program}"
            known = fetched(session, client_id, party, what)
        try:
            result = blob.read_bytes()
        except FileNotFoundError as error:  # erased between the two lines above
            raise UnknownApplication("The application has just been erased.") from error
        if not known:
            with self._storage.write() as session:
                self._live(session, client_id)
                self._note(session, client_id, (SERVER, party), what, len(result))
        return result

    def state(
        self, client_id: str, progress: Mapping[tuple[str, str], float] = _NO_PROGRESS
    ) -> ApplicationState:
        """What its parties may see; `progress` holds running shares by (id, program)."""
        with self._storage.read() as session:
            return describe(self._live(session, client_id), self._public, progress)

    def require_viewer(self, client_id: str, token: str | None) -> None:
        """Raises NotAuthorised unless the token is a party's, or the one for watching."""
        with self._storage.read() as session:
            require_viewer(self._live(session, client_id), token)

    def messages(self, client_id: str, program: str) -> Messages:
        """The files there are of those that a program needs."""
        with self._storage.read() as session:
            return self._messages(self._live(session, client_id), program)

    def erase(self, client_id: str, token: str | None) -> None:
        """Erase everything of an application; raises NotAuthorised."""
        with self._storage.write() as session:
            application = self._live(session, client_id)
            bearer_of(application, token)
            blobs = blobs_of(application)
            session.execute(
                delete(ApplicationRecord).where(ApplicationRecord.client_id == client_id)
            )
        self._storage.remove_blobs(blobs)
        self._storage.scrub()

    def _live(self, session: Session, client_id: str) -> ApplicationRecord:
        return live(session, client_id, self._clock())

    def _note(self, session: Session, client_id: str, way: Way, what: str, size: int) -> None:
        note(session, client_id, self._clock(), way, what, size)

    def _messages(self, application: ApplicationRecord, program: str) -> Messages:
        sent = uploads_of(application)
        keys = [(s.party, s.file_name) for s in self._public.slots if program in s.needed_for]
        return {key: self._storage.blob(sent[key].blob) for key in keys if key in sent}
