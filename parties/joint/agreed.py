"""A run that all parties agree to, as whoever plays some of them has it and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from parties.joint.member import JointMember
from parties.messages import ProgramState
from parties.watch import RunFollower, stopped_by
from utils.errors import OutOfStep

LOOK_SECONDS = 1.0
"""How long a look at a run under way waits for something new."""

Pump = Callable[[Callable[[], bool], bool], None]
"""Advances all members until a condition holds or nothing moves; False: answers no result."""


class AgreedRun:
    """One asking for a program, as all of `members`; `awaited` names the parties still to come."""

    def __init__(
        self,
        members: Mapping[str, JointMember],
        follower: RunFollower,
        pump: Pump,
        awaited: Callable[[], str],
    ) -> None:
        self._members, self._pump, self._awaited = members, pump, awaited
        self._member = next(iter(members.values()))
        self._follower, self._program = follower, follower.program
        self._stopped_before: bool | None = None

    def seconds(self) -> float:
        """Agree, have the program run, wait for its end; the server's seconds.

        May be called again after an error that passes. Raises OutOfStep where not all agree,
        RunCancelled, and what the run failed with.
        """
        self._pump(lambda: False, False)
        if self._stopped_before is None:
            self._stopped_before = self._found.stopped
        for member in self._members.values():
            if member.party not in member.agreed_by(self._program):
                member.agree(self._program)
        self._pump(lambda: self._found.status != "idle", False)
        while self._found.status != "done":
            if self._found.under_way:
                self._stopped_before = False
                self._follower.report(self._found)
                self._member.advance(LOOK_SECONDS, False)
            else:
                self._ask()
        return self._found.seconds or 0.0

    @property
    def _found(self) -> ProgramState:
        state = self._member.state
        return ProgramState(status="idle") if state is None else state.programs[self._program]

    def _ask(self) -> None:
        if self._found.stopped and not self._stopped_before:
            raise stopped_by(self._program, self._found)
        if self._member.run_if_due() is None:
            raise OutOfStep(
                f"{self._program} needs all parties to agree; not yet: {self._awaited()}."
            )
