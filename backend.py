"""What the parties do over HTTP, by the names of the well-known demo; thin over their sessions.

Inputs are one party's values in the schema's order of its columns, or one mapping of column names
to values. Every function raises a class of utils/errors.py whose message says what to do. Those
that take a `client_id` answer one too: it changes when a decided application is opened afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from engines.interface import DECIDE, Progress
from features.schema import Party
from parties.connection import Connection
from parties.results import Decision, ExplanationOpened, KeysMade, ProgramRun, SliceSent
from parties.run_follower import Tell
from parties.sessions import Session, session_class
from settings import get_settings
from utils.errors import OutOfStep, UnknownApplication, ValueOutOfDomain


@lru_cache(maxsize=1)
def connection() -> Connection:
    """The server of the settings, its public model and its engine, read once."""
    return Connection.from_settings(get_settings())


def keygen_send() -> KeysMade:
    """Open an application, join it as every party, make the keys and send the server its key."""
    connection().refresh()
    session = session_class(connection().public).open(connection())
    try:
        return session.make_keys()
    except BaseException:
        session.discard()
        raise


def pre_process_encrypt_send(
    client_id: str | None, party: str, record: Mapping[str, Any]
) -> SliceSent:
    """Encode, encrypt and send the record of any party of any schema."""
    return _session(client_id).send(party, record)


def pre_process_encrypt_send_applicant(client_id: str | None, *inputs: Any) -> SliceSent:
    """Encode, encrypt and send the applicant's values."""
    return _send(client_id, "applicant", inputs)


def pre_process_encrypt_send_bank(client_id: str | None, *inputs: Any) -> SliceSent:
    """Encode, encrypt and send the bank's values."""
    return _send(client_id, "bank", inputs)


def pre_process_encrypt_send_credit_agency(client_id: str | None, *inputs: Any) -> SliceSent:
    """Encode, encrypt and send the credit agency's values."""
    return _send(client_id, "credit_agency", inputs)


def run_fhe(
    client_id: str | None,
    program: str = DECIDE,
    progress: Progress | None = None,
    news: Tell | None = None,
) -> ProgramRun:
    """Have the server evaluate a program; `progress` gets the finished share, 0 to 1.

    `news` is told how the run stands (parties/run_follower.py). Called again, also from elsewhere,
    it waits for the run that is under way.
    """
    return _session(client_id).run(program, progress, news)


def cancel_run(client_id: str | None, program: str = DECIDE) -> None:
    """End a run that waits or is under way, wherever it was asked for; it may be run again."""
    _session(client_id).cancel(program)


def get_output_and_decrypt(client_id: str | None) -> Decision:
    """Fetch the encrypted decision and open it."""
    return _session(client_id).open_decision()


def explain_encrypt_run_decrypt(
    client_id: str | None,
    *inputs: Any,
    progress: Progress | None = None,
    news: Tell | None = None,
) -> ExplanationOpened:
    """Run the explanation on the ciphertexts already sent, and open it.

    `inputs` are of the party that owns the explained column. They may be left out; where they are
    given they must be what that party sent, since that is what the server computes on.
    """
    session = _session(client_id)
    if inputs:
        party = connection().public.schema_.party(connection().public.schema_.explained_party)
        if not session.is_sent(party.name, to_record(party, inputs)):
            raise OutOfStep(
                f"The values of the {party.label} have changed since they were sent: encrypt and "
                "send them, run and open the decision, then explain it."
            )
    return session.explain(progress, news)


def erase_application(client_id: str | None) -> None:
    """Erase the application on the server and the parties' files of it."""
    _session(client_id).erase()


def discard_application(client_id: str) -> None:
    """Erase the parties' files of an application, and the server's where it can be reached."""
    with suppress(UnknownApplication):  # erased already
        _session(client_id).discard()


def to_record(party: Party, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """A party's values as a record; raises ValueOutOfDomain where their number is wrong."""
    if len(inputs) == 1 and isinstance(inputs[0], Mapping):
        return dict(inputs[0])
    names = [column.name for column in party.columns]
    if len(inputs) != len(names):
        raise ValueOutOfDomain(
            f"{party.name} has {len(names)} columns, not {len(inputs)}: {', '.join(names)}."
        )
    return dict(zip(names, inputs, strict=True))


def _send(client_id: str | None, party: str, inputs: tuple[Any, ...]) -> SliceSent:
    columns = connection().public.schema_.party(party)
    return pre_process_encrypt_send(client_id, party, to_record(columns, inputs))


def _session(client_id: str | None) -> Session:
    if not client_id:
        raise OutOfStep("There are no keys yet: make the keys first (step 1).")
    return session_class(connection().public).resume(connection(), client_id)
