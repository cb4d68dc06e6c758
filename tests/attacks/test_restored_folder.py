"""A folder put back to an earlier state must not open a second result.

The server evaluates twice and re-randomises anew, so that it has two results on the same inputs.
Two openings with fresh noise would tell more than one; of masked scores they would cancel the
masks.
"""

import pytest

from tests.parties.joint.group import Group
from utils.errors import AlreadyOpened

PROGRAM = "decide"


def first_opening(others_restored):
    """Open one result, put folders back to the time before, and offer a second result.

    Returns the parties that make a decryption share of the second result.
    """
    group = Group().ready()
    group.agree(PROGRAM)
    group.pump()
    names = [group.names[0], *(group.names[1:] if others_restored else ())]
    saved = {name: group.snapshot(name) for name in names}
    wire = len(group.wire)
    group.run(PROGRAM)
    second = group.result(PROGRAM)
    for name in names:
        group.protocols[name] = group.protocols[name].resume(
            group.engine,
            group.public,
            name,
            group.application,
            group.identities[name],
            *saved[name],
        )
        # A server that colludes shows it none of the later messages.
        group.taken[name] |= set(range(wire, len(group.wire)))
    for _ in range(2):
        for name in names:
            group.protocols[name].open(PROGRAM, second)
            group.post(name)
        for name in names:
            for index in group.due(name):
                if group.wire[index].sender in names:
                    group.deliver(name, index)
    return [name for name in names if group.protocols[name].opened(PROGRAM) is not None]


def test_restored_folder_opens_no_second_result_while_another_party_kept_its_own():
    assert first_opening(others_restored=False) == []


def test_control_folders_of_all_parties_restored_open_a_second_result():
    assert len(first_opening(others_restored=True)) == 3


def test_other_parties_do_not_confirm_a_second_result():
    group = Group().ready()
    group.run(PROGRAM)
    for protocol in group.protocols.values():
        with pytest.raises(AlreadyOpened):
            protocol.open(PROGRAM, group.result(PROGRAM))
