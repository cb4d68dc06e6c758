"""The application's state machine: which calls are allowed, for which party, and when.

    open ──all slots for `decide`──► ready ──► running ──► decided ──► running ──► explained

The reasons, like the explanation, come after the decision; they leave the state as it is.

Every method checks in the order of the HTTP contract: the format of the id, that the application
exists and has not expired, the token and its scope, the names, the owner of the slot, and last the
order of steps. No external value becomes part of a path: ids are matched against a pattern, and all
other names are looked up in the model's own lists. Joining and tokens are in
service/applications/party_tokens.py, uploads in service/applications/slots.py, and runs in
service/jobs/queue.py. This module is independent of HTTP; its methods are synchronous and
thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from contract.http import ApplicationState, Opened, moment
from contract.reviews import OPEN_STAGES
from service.applications.activity_log import SERVER, fetched, note
from service.applications.base import ApplicationService
from service.applications.credentials import ERASE, READ, WATCH, bearer_of, require_viewer
from service.applications.live_runs import LiveRuns
from service.applications.logged import log_erasure
from service.applications.party_tokens import token_row
from service.applications.rules import (
    count_live,
    count_reviewed,
    describe,
    explanation_readers_of,
    readers_of,
    reasons_readers_of,
    run_of,
    seen,
    witnesses_of,
)
from service.applications.views import ApplicationView
from service.applications.witnesses import named_witnesses
from service.storage.storage import OPENING, even_when_full
from service.storage.tables import (
    DONE,
    ApplicationRecord,
    PartyRecord,
    RunRecord,
    TokenRecord,
    table_of,
)
from utils.errors import OutOfStep, TooManyApplications, TrisealError
from utils.tokens import digest, new_id, new_secret

FULL_SECONDS = 60.0
_NO_RUNS: LiveRuns = {}


@dataclass(frozen=True)
class Removed:
    """The remains of an application without rows: its store, and its jobs, which may be running."""

    store: str
    jobs: list[str]


class Applications(ApplicationService):
    """All applications of one deployment.

    Besides the errors that each method names, all methods but `open` raise InvalidRequest for an id
    that is not 32 hexadecimal digits, UnknownApplication, and ApplicationExpired. Methods that take
    a token also raise NotAuthorised and ForbiddenScope.
    """

    def open(
        self,
        readers: list[str] | None = None,
        witnesses: list[str] | None = None,
        explanation_readers: list[str] | None = None,
        reasons_readers: list[str] | None = None,
    ) -> Opened:
        """Open an application whose decision `readers` learn (None: all parties).

        `explanation_readers` are those of them that learn the explanation (None: see
        rules.explanation_readers_of), and `reasons_readers` those that learn the reasons (None: see
        rules.reasons_readers_of). `witnesses` are names in TRISEAL_WITNESSES (None: all of them).
        Raises UnknownParty, InvalidRequest, TooManyApplications, DiskFull.
        """
        self._storage.require_disk()
        now = self._clock()
        client_id, store, watch_token = new_id(), new_id(), new_secret()
        learn = readers_of(self._public, readers)
        learn_why = explanation_readers_of(self._public, explanation_readers, learn)
        learn_reasons = reasons_readers_of(self._public, reasons_readers, learn, learn_why)
        check = named_witnesses(self._public, self._settings, witnesses)
        codes = {party: new_secret() for party in self._public.schema_.party_names}
        expires = now + self._settings.application_hours * 3600
        application = {
            "client_id": client_id,
            "store": store,
            "model_version": self._public.model_version,
            "created": now,
            "expires": expires,
            "readers": learn,
            "explanation_readers": learn_why,
            "reasons_readers": learn_reasons,
            "witnesses": check,
        }
        parties = [
            {"client_id": client_id, "party": party, "code_digest": digest(code)}
            for party, code in codes.items()
        ]
        programs = [{"client_id": client_id, "program": name} for name in self._public.programs]
        watching = token_row(client_id, watch_token, None, [WATCH], (now, expires))
        with self._storage.write() as session:
            self._storage.lock(session, OPENING)
            self._require_place(session, now)
            session.execute(insert(table_of(ApplicationRecord)), application)
            session.execute(insert(table_of(PartyRecord)), parties)
            session.execute(insert(table_of(RunRecord)), programs)
            session.execute(insert(table_of(TokenRecord)), watching)
        return Opened(
            client_id=client_id,
            expires_at=moment(expires),
            join_codes=codes,
            watch_token=watch_token,
            readers=learn,
            explanation_readers=learn_why,
            reasons_readers=learn_reasons,
            witnesses=witnesses_of(check),
        )

    def output(self, client_id: str, token: str | None, program: str) -> bytes:
        """Return the sealed result of a run.

        Raises UnknownName, OutOfStep, StoredDataDamaged.
        """
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            party = bearer_of(application, token, READ, now)
            run = run_of(application, program)
            if run.status != DONE or run.sha256 is None:
                raise OutOfStep(f"{program} has no result yet: run {program} first.")
            store, name, what = application.store, run.sha256, f"result of {program}"
            known = fetched(session, client_id, party, what)
        try:
            result = self._storage.blobs.read(store, name)
        except TrisealError:
            self.require(client_id)  # if it was erased meanwhile, report that instead
            raise
        if not known:
            with self._storage.write() as session:
                seen(session, client_id, now, lock=True)
                note(session, client_id, self._clock(), (SERVER, party), what, len(result))
        return result

    def require(self, client_id: str) -> None:
        """Raise InvalidRequest, UnknownApplication or ApplicationExpired unless it is live."""
        with self._storage.read() as session:
            seen(session, client_id, self._clock())

    def state(self, client_id: str, live_runs: LiveRuns = _NO_RUNS) -> ApplicationState:
        """Return the state as its parties may see it.

        `live_runs` are the runs that this server evaluates.
        """
        with self._storage.read() as session:
            now = self._clock()
            return describe(seen(session, client_id, now), self._public, live_runs, now)

    def look(
        self,
        client_id: str,
        token: str | None,
        live_runs: LiveRuns = _NO_RUNS,
    ) -> ApplicationState:
        """Return the state as `state` does, for a party's token with `read` or the watch token."""
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            require_viewer(application, token, now)
            return describe(application, self._public, live_runs, now)

    def require_viewer(self, client_id: str, token: str | None) -> None:
        """Raise unless the token may see the state: a party's with `read`, or the watch token."""
        now = self._clock()
        with self._storage.read() as session:
            require_viewer(seen(session, client_id, now), token, now)

    @even_when_full
    def remove(self, client_id: str, token: str | None) -> Removed:
        """Remove an application's rows, the first step of erasing it (service/erasure.py).

        Raises OutOfStep while a review is open, unless the applicant asks.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            party = bearer_of(application, token, ERASE, now)
            if application.review in OPEN_STAGES and party != self._public.schema_.party_names[0]:
                raise OutOfStep(
                    "The applicant has asked for a review of the decision, and the application is "
                    "kept until it has an outcome. Conclude the review first."
                )
            return self._remove(application)

    @even_when_full
    def remove_for_operator(self, client_id: str) -> Removed:
        """Remove an application's rows without a party's token."""
        with self._storage.write() as session:
            return self._remove(seen(session, client_id, self._clock(), lock=True))

    def _remove(self, application: ApplicationView) -> Removed:
        jobs = [run.job for run in application.runs if run.job is not None]
        session, gone = application.session, [application.client_id]
        remove_rows(session, gone)
        self._storage.announce(session, application.client_id)
        log_erasure(self._storage, session, gone, self._clock())
        return Removed(application.store, jobs)

    def _require_place(self, session: Session, now: float) -> None:
        most = self._settings.maximum_applications
        # Those with a review stay for months and have a maximum of their own (reviews.py), or
        # whoever opens applications could close the server to all others for so long.
        if count_live(session, now) - count_reviewed(session, now) >= most:
            raise TooManyApplications(
                f"The server holds {most} applications, its maximum "
                "(TRISEAL_MAXIMUM_APPLICATIONS); try again when some have expired or been erased.",
                FULL_SECONDS,
            )


def remove_rows(session: Session, client_ids: list[str]) -> None:
    """Delete applications; the foreign keys delete all their other rows."""
    applications = table_of(ApplicationRecord)
    session.execute(delete(applications).where(applications.c.client_id.in_(client_ids)))
