"""Every opened sum is that of its roster, over random drop-outs and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.aggregation.statement import Step
from federated.aggregation.upload import Upload
from tests.federated.aggregation.lenders import (
    TRANSCRIPT,
    Lenders,
    plain_sum,
    reveal_all,
    upload_all,
    vectors,
)
from tests.strategies import QUICK
from utils.errors import RosterRefused, StepRefused


class Schedule:
    """A run in which lenders vanish, return and restart as drawn; the coordinator is honest."""

    def __init__(self, lenders, draw):
        self.lenders, self.draw = lenders, draw
        self.opened = {}

    def run(self, trees):
        for tree in range(-1, trees):
            roster = self.some_without(self.lenders.names, self.lenders.group.least_roster)
            roster = self.root(tree, roster)
            for level in range(1, 3):
                if tree < 0 or not self.level(Step(tree, level), roster):
                    break

    def root(self, tree, roster):
        """Try until nobody of the roster vanishes before its upload, and return that roster."""
        attempt, late = 0, []
        while True:
            opening = self.lenders.opening(Step(tree, 0, attempt), roster)
            there = self.some_without(roster, self.lenders.group.least_roster)
            values = self.values(opening.step)
            self.uploads(opening, there, values)
            if there == roster:
                self.open(opening, values)
                for earlier, gone, earlier_values in late:
                    self.never_opens(earlier, gone, earlier_values, roster)
                return roster
            gone = [name for name in roster if name not in there]
            late.append((opening, gone, values))
            roster, attempt = there, attempt + 1

    def level(self, step, roster):
        """Open a later level, and return False if the tree ends since someone has vanished."""
        opening = self.lenders.opening(step, roster)
        there = self.some_without(roster, self.lenders.group.least_roster)
        values = self.values(step)
        self.uploads(opening, there, values)
        if there != roster:
            # No other roster gets a sum of this tree.
            for name in there:
                with pytest.raises((RosterRefused, StepRefused)):
                    self.lenders.masks[name].upload(
                        Step(step.tree, step.level, 1), there, TRANSCRIPT, values[name]
                    )
            return False
        self.open(opening, values)
        return True

    def uploads(self, opening, there, values):
        for name in there:
            for _ in range(self.draw(st.integers(1, 2))):  # sent again, perhaps after a restart
                if self.draw(st.booleans()):
                    self.lenders.restart(name)
                sent = self.lenders.masks[name].upload(
                    opening.step, opening.roster, TRANSCRIPT, values[name]
                )
                opening.take_upload(name, Upload.from_bytes(sent.to_bytes()))

    def open(self, opening, values):
        masks = self.lenders.masks
        gone = set(opening.roster) - set(
            self.some_without(opening.roster, self.lenders.group.threshold)
        )
        for name in opening.roster:
            if name not in gone and self.draw(st.booleans()):
                masks[name].reveal(opening.step, opening.signatures)
                self.lenders.restart(name)
        reveal_all(masks, opening, without=gone)
        assert opening.ready
        np.testing.assert_array_equal(opening.sum(), plain_sum(values, opening.roster))
        place = (opening.step.tree, opening.step.level)
        assert place not in self.opened
        self.opened[place] = opening.roster

    def never_opens(self, opening, gone, values, later):
        """Have those who had vanished upload late, and ask everyone to open the old attempt."""
        for name in gone:
            sent = self.lenders.masks[name].upload(
                opening.step, opening.roster, TRANSCRIPT, values[name]
            )
            opening.take_upload(name, sent)
        for name in later:
            with pytest.raises(StepRefused):
                self.lenders.masks[name].reveal(opening.step, opening.signatures)
            with pytest.raises(StepRefused):
                of, sealed = next(iter(opening.shares_for(name).items()))
                self.lenders.masks[name].reveal_share(opening.step, of, sealed)
        for name in gone:
            opening.take_seed(
                name, self.lenders.masks[name].reveal(opening.step, opening.signatures)
            )
            for of, sealed in opening.shares_for(name).items():
                share = self.lenders.masks[name].reveal_share(opening.step, of, sealed)
                opening.take_share(name, of, share)
        assert not opening.ready

    def some_without(self, names, least):
        """Draw those of `names` that have not vanished, at least `least`."""
        most = len(names) - least
        gone = self.draw(st.sets(st.sampled_from(names), max_size=most)) if most else set()
        return tuple(name for name in names if name not in gone)

    def values(self, step):
        return vectors(self.lenders.names, seed=[step.tree + 1, step.level, step.attempt])


RUNS = {count: Lenders(count) for count in (3, 4, 5, 7)}


@settings(QUICK, max_examples=40)
@given(st.sampled_from(sorted(RUNS)), st.data())
def test_every_opened_sum_is_that_of_its_roster(count, data):
    schedule = Schedule(RUNS[count].begin(), data.draw)
    schedule.run(trees=3)
    assert {(-1, 0), (0, 0), (1, 0), (2, 0)} <= schedule.opened.keys()


@pytest.mark.parametrize("count", [3, 5, 20, 64])
def test_a_third_may_vanish_between_vector_and_seed(count):
    lenders = Lenders(count)
    opening, values = lenders.opening(Step(0)), vectors(lenders.names)
    upload_all(lenders.masks, opening, values)
    reveal_all(lenders.masks, opening, without=lenders.names[: count // 3])
    np.testing.assert_array_equal(opening.sum(), plain_sum(values, lenders.names))


def test_a_lender_that_was_absent_for_many_trees_joins_again():
    lenders = Lenders(4)
    values = vectors(lenders.names)
    for tree, roster in ((0, lenders.names[1:]), (1, lenders.names[1:]), (300, lenders.names)):
        opening = lenders.opening(Step(tree), roster)
        upload_all(lenders.masks, opening, values)
        reveal_all(lenders.masks, opening)
        np.testing.assert_array_equal(opening.sum(), plain_sum(values, roster))


def test_a_coordinator_goes_on_from_its_messages():
    lenders = Lenders(3)
    before, values = lenders.opening(Step(0)), vectors(lenders.names)
    upload_all(lenders.masks, before, values)
    after = lenders.opening(Step(0))
    upload_all(lenders.masks, after, values)  # the same bytes again
    assert after.signatures == before.signatures
    reveal_all(lenders.masks, after)
    np.testing.assert_array_equal(after.sum(), plain_sum(values, lenders.names))
