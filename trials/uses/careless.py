"""Controls of the trial: a server and owners without a defence, which the checks must find."""

from __future__ import annotations

from utils.command_line import run_command

import sys
from collections.abc import Mapping
from typing import Any

from governance.permits import Permit
from parties.governance.owner import Owner
from parties.governance.request_book import StoredRequest
from utils.tokens import new_id

COMMAND = ("-W", "ignore::DeprecationWarning", "-m", "trials.uses.careless")
"""The command of a server that marks a permit as often as it is asked to."""


class UnloggedOwner(Owner):
    """An owner that gives results without having the server mark the use."""

    def use_permit(
        self, session_id: str, permit: str, receipt: str, details: Mapping[str, Any], key: str
    ) -> int:
        """Return an entry that is of something else."""
        return 0


class UnbegunOwner(Owner):
    """An owner whose book does not keep that a use has begun."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        book = self._parts.book
        put = book.put

        def forgetful(stored: StoredRequest) -> StoredRequest:
            return put(stored.model_copy(update={"uses": ()}))

        book.put = forgetful  # type: ignore[method-assign]


class UnmaskedOwner(Owner):
    """An owner that adds a row of its data to a result."""

    def use_permit(
        self, session_id: str, permit: str, receipt: str, details: Mapping[str, Any], key: str
    ) -> int:
        """Mark the use, and put a row into the result that waits for it."""
        entry = super().use_permit(session_id, permit, receipt, details, key)
        (data,) = self._parts.data_store.search(tag="salaries")
        row = self._parts.data_set(data.id)[1].rows[0]
        for stored in self._parts.book.requests():
            for waiting in stored.outbox:
                waiting.result["row"] = dict(row)
        return entry


def _forget_uses() -> None:
    """Have the server take each bringing of a permit for another permit."""
    from service.sessions import session_log

    read = session_log._permit_of

    def another(row: Any, text: str) -> Permit:
        return read(row, text).model_copy(update={"jti": new_id()})

    session_log._permit_of = another


if __name__ == "__main__":  # the workers import this file too
    from server import main
    from trials.stand_in import load

    _forget_uses()
    run_command(lambda: main(load, sys.argv[1:]))
