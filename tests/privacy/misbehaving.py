"""A party that does not keep to the protocol, and what the honest ones do then.

Its messages are sealed with its own keys, so that nothing is refused merely because it is not
authentic, except where that is the point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from engines.levelled.party import LevelledParty
from parties.joint.messages import agree_step, partial_step
from tests.privacy.small import PARTIES, House
from tests.privacy.table import Posted, Table

LIAR = "bank"
HONEST = tuple(name for name in PARTIES if name != LIAR)
DECIDE_AGREE, DECIDE_PART = agree_step("decide"), partial_step("decide")


def without(step: str, sender: str = LIAR) -> Callable[[Posted], bool]:
    """Carry everything but what that party says from that step on."""
    silent = []

    def carries(posted: Posted) -> bool:
        if (posted.sender, posted.step) == (sender, step):
            silent.append(posted)
        return posted.sender != sender or not silent

    return carries


def refused(table: Table, posted: Posted, error: Any, parties: Iterable[str] = HONEST) -> None:
    """Each of these parties refuses the message, and is as it was before."""
    for name in parties:
        before = table[name].to_bytes(), table[name].secret
        with pytest.raises(error) as caught:
            table.tell(name, posted)
        assert len(caught.value.message) > 20
        assert (table[name].to_bytes(), table[name].secret) == before


def lying(house: House, **methods: Any) -> LevelledParty:
    """The engine's party half with some of its methods replaced."""
    kind = type("Lying", (LevelledParty,), methods)
    return kind(house.server.public, house.server.client_files())
