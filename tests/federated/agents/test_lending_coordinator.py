"""A coordinator that lends as well: it could subtract its own part from a sum of three."""

from __future__ import annotations

import pytest

from features.schema import Schema
from federated.agents.membership import Membership
from federated.plan import Plan
from parties.joint.identities import IdentityKey
from tests.federated.agents.lenders import SCHEMA
from utils.errors import RosterRefused

PLAN = Plan(schema=Schema.load(SCHEMA))
COORDINATOR = "coordinator"


def members(lenders: int, lends: bool) -> dict[str, Membership]:
    """Return the members of a training that has started, after all messages have arrived."""
    names = [f"lender_{i}" for i in range(lenders)]
    keys = {name: IdentityKey.fresh() for name in (COORDINATOR, *names)}
    if lends:
        keys[COORDINATOR] = keys[names[0]]
    found = {
        name: Membership.fresh(
            *("0" * 32, name, names, "token", bytes(16), key, {}),
            plan=PLAN if name == COORDINATOR else None,
        )
        for name, key in keys.items()
    }
    _deliver(found)
    found[COORDINATOR].start(names)
    _deliver(found)
    return found


def _deliver(found: dict[str, Membership]) -> None:
    for sender, member in found.items():
        for one in member.state.pending:
            for name in set(found) - {sender}:
                found[name].open(sender, one.to, one.number, one.body)
        member.state.pending.clear()


def test_lenders_refuse_sums_of_three_if_one_of_them_coordinates():
    found = members(3, lends=True)
    for member in found.values():
        with pytest.raises(RosterRefused, match="4 to"):
            member.group()


def test_the_same_three_lenders_train_with_a_coordinator_of_its_own():
    assert {member.group().least_roster for member in members(3, lends=False).values()} == {3}


def test_with_four_lenders_no_sum_leaves_one_out():
    for member in members(4, lends=True).values():
        group = member.group()
        with pytest.raises(RosterRefused, match="at least 4"):
            group.require_roster(group.lenders[:3])
        group.require_roster(group.lenders)
    assert members(4, lends=False)["lender_1"].group().least_roster == 3
