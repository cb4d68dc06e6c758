"""The next step of a party's person: the only steps that `JointMember.advance` leaves open."""

from __future__ import annotations

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.joint.member import JointMember


def goes_on(member: JointMember) -> None:
    """Advance, then send the default record, or agree to what is due; raises their errors."""
    member.advance()
    name, public = member.party, member.public
    decided = member.own.protocol.opened(public.final(DECIDE)) is not None
    if member.keys_ready and not member.has_sent:
        columns = public.schema_.party(name).columns
        member.send_record({column.name: column.default for column in columns})
    elif member.records_arrived and name not in member.agreed_by(DECIDE):
        member.agree(DECIDE)
    elif decided:
        later = (EXPLAIN, REASONS) if REASONS in public.programs else (EXPLAIN,)
        for program in later:
            if name not in member.agreed_by(program):
                member.agree(program)
                return
