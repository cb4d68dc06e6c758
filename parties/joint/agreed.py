"""Requests for a run on behalf of one or more parties, after all parties have agreed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from parties.joint.member import JointMember
from parties.messages import ProgramState
from utils.errors import OutOfStep

Pump = Callable[[Callable[[], bool], bool], None]
"""Advances all members until the condition holds or nothing changes; with False as the second
argument, no member sends its decryption share of a result."""


def agree_and_ask(
    members: Mapping[str, JointMember],
    program: str,
    pump: Pump,
    awaited: Callable[[], str],
    asked: bool,
) -> ProgramState:
    """Agree for all of `members`, request a run of the program, and return the run's state.

    A run that is under way or done is left alone; one that stopped is requested again, unless the
    caller has `asked` already. `awaited` names the parties that are still to agree. Raises
    OutOfStep if not all parties agree.
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
        raise OutOfStep(f"{program} needs all parties to agree; waiting for: {awaited()}.")
    return found()
