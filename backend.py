"""The parties' operations over HTTP, under the function names of Zama's credit scoring demo.

Each function is a thin wrapper around a party session. `inputs` are one party's values in the
order of its columns in the schema, or a single mapping of column names to values. All errors are
classes of utils/errors.py. Functions that take a `client_id` also return one: it changes when a
decided application is opened again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from engines.interface import DECIDE, Progress
from features.schema import Party
from parties.connection import Connection
from parties.results import (
    Decision,
    ExplanationOpened,
    KeysMade,
    ProgramRun,
    ReasonsOpened,
    SliceSent,
)
from parties.run_follower import Tell
from parties.sessions import Session, session_class
from settings import get_settings
from utils.errors import OutOfStep, UnknownApplication, ValueOutOfDomain


@lru_cache(maxsize=1)
def connection() -> Connection:
    """Return the connection to the configured server, with its public model and engine; cached."""
    return Connection.from_settings(get_settings())


def session_of(client_id: str | None) -> Session:
    """Return the parties' session of an application; raises OutOfStep if it has no id yet."""
    if not client_id:
        raise OutOfStep("There are no keys yet: make the keys first (step 1).")
    return session_class(connection().public).resume(connection(), client_id)


def keygen_send() -> KeysMade:
    """Open an application, join it as every party, generate the keys and upload the server's."""
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
    """Encode, encrypt and send the record of `party`, for any schema."""
    return session_of(client_id).send(party, record)


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
    """Have the server evaluate a program, and wait for the run to finish.

    `progress` is called with the finished fraction, 0 to 1, and `news` with the state of the run
    (parties/run_follower.py). If the program is already running, wait for that run.
    """
    return session_of(client_id).run(program, progress, news)


def cancel_run(client_id: str | None, program: str = DECIDE) -> None:
    """Cancel a queued or active run, whichever process started it; it may be run again."""
    session_of(client_id).cancel(program)


def get_output_and_decrypt(client_id: str | None) -> Decision:
    """Fetch the encrypted decision and decrypt it."""
    return session_of(client_id).open_decision()


def explain_encrypt_run_decrypt(
    client_id: str | None,
    *inputs: Any,
    progress: Progress | None = None,
    news: Tell | None = None,
) -> ExplanationOpened:
    """Run the explanation on the ciphertexts already sent, and decrypt it.

    `inputs` are optional: the values of the party that owns the explained column. Raises OutOfStep
    if they differ from the values that the party sent, on which the server computes.
    """
    session = session_of(client_id)
    if inputs:
        party = connection().public.schema_.party(connection().public.schema_.explained_party)
        if not session.is_sent(party.name, to_record(party, inputs)):
            raise OutOfStep(
                f"The values of the {party.label} have changed since they were sent: encrypt and "
                "send them, run and open the decision, then explain it."
            )
    return session.explain(progress, news)


def state_reasons(
    client_id: str | None, progress: Progress | None = None, news: Tell | None = None
) -> ReasonsOpened:
    """Run the reasons on the ciphertexts already sent, and decrypt them.

    Raises EngineUnavailable if the model states none.
    """
    return session_of(client_id).reasons(progress, news)


def erase_application(client_id: str | None) -> None:
    """Erase the application on the server, and the parties' files for it."""
    session_of(client_id).erase()


def discard_application(client_id: str) -> None:
    """Erase the parties' files for an application, and the server's if it can be reached."""
    with suppress(UnknownApplication):  # erased already
        session_of(client_id).discard()


def to_record(party: Party, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Return a party's values as a record; raises ValueOutOfDomain if their number is wrong."""
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
