"""A run that all parties agree to, as whoever plays some of them asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from parties.joint.member import JointMember
from parties.messages import ProgramState
from utils.errors import OutOfStep

Pump = Callable[[Callable[[], bool], bool], None]
"""Advances all members until a condition holds or nothing moves; False: answers no result."""


def agree_and_ask(
    members: Mapping[str, JointMember],
    program: str,
    pump: Pump,
    awaited: Callable[[], str],
    asked: bool,
) -> ProgramState:
    """Agree as all of `members`, have the program run, and return how its run stands.

    One that is under way or done is left alone; one that stopped is asked for again, unless the
    caller has `asked` already. `awaited` names the parties still to come. Raises OutOfStep where
    not all agree.
    """
    member = next(iter(members.values()))

    def found() -> ProgramState:
        state = member.state
        return ProgramState(status="idle") if state is None else state.programs[program]

    pump(lambda: False, False)
    for one in members.values():
        if one.party not in one.agreed_by(program):
            one.agree(program)
    pump(lambda: found().status != "idle", False)
    due = found().status == "idle" or (found().stopped and not asked)
    if due and member.run_if_due() is None:
        raise OutOfStep(f"{program} needs all parties to agree; not yet: {awaited()}.")
    return found()
