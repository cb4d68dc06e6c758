"""Choice of the party that requests a run after all have agreed to it, and the time of the request.

Repeated requests are harmless: the server treats them as the same run. To avoid them, the first
party requests the run at once, and each further party, in the schema's order, waits a little longer
and requests it only if no other party has. A run that failed or was cancelled is requested again
only by a person.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from contract.http import ApplicationState

TURN_SECONDS = 3.0
"""Delay of each party after the previous one."""


class Asking:
    """The turn of one party to request runs, from the application's latest known state.

    `agreed` are the programs that all parties have agreed to.
    """

    def __init__(self, party: str, names: Sequence[str]) -> None:
        self._delay = names.index(party) * TURN_SECONDS
        self._since: dict[str, float] = {}

    def due(self, state: ApplicationState | None, agreed: Sequence[str], again: bool) -> str | None:
        """Return the program to request now, or None; `again` is True for a person's request."""
        self._note(state, agreed)
        programs = {} if state is None else state.programs
        if state is not None and state.under_way is not None and not again:
            return None
        for program in agreed:
            if again and program in programs and programs[program].stopped:
                return program
            if program in self._since and (again or self._left(program) <= 0):
                return program
        return None

    def seconds(self, state: ApplicationState | None, agreed: Sequence[str]) -> float:
        """Return the seconds until this party's turn; infinity if there is nothing to request.

        Also while another program runs: the state changes when that ends.
        """
        self._note(state, agreed)
        if state is not None and state.under_way is not None:
            return math.inf
        return min((self._left(program) for program in self._since), default=math.inf)

    def _note(self, state: ApplicationState | None, agreed: Sequence[str]) -> None:
        programs = {} if state is None else state.programs
        waiting = [p for p in agreed if p in programs and programs[p].status == "idle"]
        now = time.monotonic()
        self._since = {program: self._since.get(program, now) for program in waiting}

    def _left(self, program: str) -> float:
        return self._since[program] + self._delay - time.monotonic()
