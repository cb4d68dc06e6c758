"""Helpers for a party that violates the protocol, and for checks of the honest parties' reaction.

Its messages are sealed with its own keys, so that none is refused merely for not being authentic,
except in the tests of exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from engines.levelled.party import LevelledParty
from parties.joint.messages import agree_step, partial_step
from tests.privacy.small import PARTIES, EngineHalves
from tests.privacy.table import Posted, Table

LIAR = "bank"
HONEST = tuple(name for name in PARTIES if name != LIAR)
DECIDE_AGREE, DECIDE_PART = agree_step("decide"), partial_step("decide")


def without(step: str, sender: str = LIAR) -> Callable[[Posted], bool]:
    """Return a filter that drops all messages of `sender` from `step` on."""
    silent = []

    def carries(posted: Posted) -> bool:
        if (posted.sender, posted.step) == (sender, step):
            silent.append(posted)
        return posted.sender != sender or not silent

    return carries


def refused(table: Table, posted: Posted, error: Any, parties: Iterable[str] = HONEST) -> None:
    """Assert that each of `parties` refuses the message with `error` and keeps its state."""
    for name in parties:
        before = table[name].to_bytes(), table[name].secret
        with pytest.raises(error) as caught:
            table.tell(name, posted)
        assert len(caught.value.message) > 20
        assert (table[name].to_bytes(), table[name].secret) == before


def lying(halves: EngineHalves, **methods: Any) -> LevelledParty:
    """Return the engine's party half with some of its methods replaced."""
    kind = type("Lying", (LevelledParty,), methods)
    return kind(halves.server.public, halves.server.client_files())
