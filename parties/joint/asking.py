"""Who asks the server for a run that all have agreed to, and when.

Asking twice does no harm: the server takes it for the same run. So that all do not ask at once,
the first party does as soon as it can, and each one after it a while later, in the schema's order,
if the run is still not asked for by then. A run that failed or was cancelled is asked for again
when a person says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from contract.http import ApplicationState

TURN_SECONDS = 3.0
"""What each party leaves to the one before it."""


class Asking:
    """When it is a party's turn to ask, by what the server last said of the application.

    `agreed` are the programs that all have agreed to.
    """

    def __init__(self, party: str, names: Sequence[str]) -> None:
        self._delay = names.index(party) * TURN_SECONDS
        self._since: dict[str, float] = {}

    def due(self, state: ApplicationState | None, agreed: Sequence[str], again: bool) -> str | None:
        """The program to ask for now, or None; `again`: a person says so."""
        self._note(state, agreed)
        programs = {} if state is None else state.programs
        for program in agreed:
            if again and program in programs and programs[program].stopped:
                return program
            if program in self._since and (again or self._left(program) <= 0):
                return program
        return None

    def seconds(self, state: ApplicationState | None, agreed: Sequence[str]) -> float:
        """How long until it is this party's turn; infinite where nothing is to be asked for."""
        self._note(state, agreed)
        return min((self._left(program) for program in self._since), default=math.inf)

    def _note(self, state: ApplicationState | None, agreed: Sequence[str]) -> None:
        programs = {} if state is None else state.programs
        waiting = [p for p in agreed if p in programs and programs[p].status == "idle"]
        now = time.monotonic()
        self._since = {program: self._since.get(program, now) for program in waiting}

    def _left(self, program: str) -> float:
        return self._since[program] + self._delay - time.monotonic()
