"""Requests for a run on behalf of one or more parties, after all parties have agreed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contract.http import ProgramState
from parties.joint.member import JointMember
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

    def lacking() -> bool:
        """Return True if a message (the challenge of the check) or a party's permit is missing."""
        state = member.state
        return state is None or bool(state.missing.get(program) or state.unpermitted.get(program))

    if lacking():
        pump(lambda: not lacking(), False)
    run = member.state.programs[program]
    if run.status == "idle" or (run.stopped and not asked):
        member.run_if_due()
    return member.state.programs[program]
