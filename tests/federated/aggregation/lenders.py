"""Lenders of a run in one process, and a coordinator that follows the protocol."""

from __future__ import annotations

import hashlib
import os
from itertools import combinations

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federated.aggregation.coordinator_side import Opening
from federated.aggregation.group import Group
from federated.aggregation.lender_side import LenderMasks
from federated.aggregation.lock_state import LockState
from federated.aggregation.statement import Step
from federated.aggregation.upload import Upload

TRANSCRIPT = hashlib.sha256(b"announcements").digest()
LENGTH = 6


def names(count):
    return tuple(f"lender {number:02}" for number in range(count))


class Lenders:
    """All lenders of a run; `masks` has their state machines, by name."""

    def __init__(self, count):
        self.names = names(count)
        self.keys = {name: Ed25519PrivateKey.generate() for name in self.names}
        self.begin()

    def begin(self):
        """Start a new run with the same lenders, and return it."""
        raw = {name: key.public_key().public_bytes_raw() for name, key in self.keys.items()}
        self.group = Group(os.urandom(32), raw)
        self.pairwise = {pair: os.urandom(32) for pair in combinations(self.names, 2)}
        self.masks = {
            name: self.with_state(LockState.begin(self.group, name, self.secrets(name)))
            for name in self.names
        }
        return self

    def secrets(self, me):
        return {
            other: self.pairwise[tuple(sorted((me, other)))] for other in self.names if other != me
        }

    def with_state(self, state):
        """Return a state machine that goes on from a state."""
        return LenderMasks(self.group, state.me, self.keys[state.me].sign, state)

    def restart(self, name):
        """Kill a lender and start it again from its folder."""
        saved = self.masks[name].state.model_dump_json()
        self.masks[name] = self.with_state(LockState.model_validate_json(saved))

    def copies(self):
        """Return machines that go on from copies of the present states: rules without a memory."""
        return {name: self.with_state(machine.state) for name, machine in self.masks.items()}

    def opening(self, step, roster=None, transcript=TRANSCRIPT, length=LENGTH):
        return Opening(self.group, step, roster or self.names, transcript, length)


def vectors(lenders, seed=0, length=LENGTH):
    """Return a vector for each lender, which uses all 64 bits."""
    random = np.random.default_rng(seed)
    return {name: random.integers(0, 2**64, length, np.uint64) for name in lenders}


def upload_all(machines, opening, values, transcript=TRANSCRIPT):
    """Have every lender of the opening's roster upload its vector, as bytes."""
    for name in opening.roster:
        sent = machines[name].upload(opening.step, opening.roster, transcript, values[name])
        opening.take_upload(name, Upload.from_bytes(sent.to_bytes()))


def reveal_all(machines, opening, without=()):
    """Have the lenders reveal their seeds, and then their shares of the seeds of `without`."""
    for name in opening.roster:
        if name not in without:
            opening.take_seed(name, machines[name].reveal(opening.step, opening.signatures))
    for holder in opening.roster:
        if holder not in without:
            for of, sealed in opening.shares_for(holder).items():
                share = machines[holder].reveal_share(opening.step, of, sealed)
                opening.take_share(holder, of, share)


def plain_sum(values, roster):
    return np.sum([values[name] for name in roster], axis=0, dtype=np.uint64)


def root(tree=0, attempt=0):
    return Step(tree, 0, attempt)
