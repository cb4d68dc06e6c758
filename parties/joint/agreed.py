"""A run that all parties agree to, as whoever plays some of them asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contract.http import ProgramState
from parties.joint.member import JointMember
from utils.errors import OutOfStep

Pump = Callable[[Callable[[], bool], bool], None]
"""Advances all members until a condition holds or nothing moves; False: opens no result."""


def agree_and_ask(
    members: Mapping[str, JointMember],
    program: str,
    pump: Pump,
    awaited: Callable[[], str],
    asked: bool,
) -> ProgramState:
    """Agree as all of `members`, have the program run, and return how its run stands.

    A run under way or done is left alone; one that stopped is asked for again, unless the caller
    has `asked` already. `awaited` names the parties still to come. Raises OutOfStep if not all
    parties agree.
    """
    for one in members.values():
        if one.party not in one.agreed_by(program):
            one.agree(program)
        elif one.state is None:
            one.advance(0.0, answer=False)

    def found() -> JointMember | None:
        """Return a member that knows that all have agreed: the last one to agree does at once."""
        return next((one for one in members.values() if one.all_agreed(program)), None)

    if found() is None:
        pump(lambda: found() is not None, False)
    member = found()
    if member is None or member.state is None:
        raise OutOfStep(f"{program} needs all parties to agree; not yet: {awaited()}.")
    run = member.state.programs[program]
    if run.status == "idle" or (run.stopped and not asked):
        member.run_if_due()
    return member.state.programs[program]
