"""Lenders and a coordinator in one process, with messages that can be lost with their sender."""

from __future__ import annotations

import os
from collections import deque
from itertools import combinations

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federated.aggregation.group import Group
from federated.aggregation.lock_state import LockState
from federated.boosting.pooled import pooled
from federated.boosting.rows import LocalRows
from federated.plan import Plan
from federated.protocol.coordinator import Coordinator, CoordinatorState
from federated.protocol.lender import Lender, LenderProgress
from federated.protocol.messages import (
    Ready,
    decode_from_coordinator,
    decode_from_lender,
    encode,
)
from federated.protocol.record import record_of


def rows_of(plan, count, seed):
    """Return states (rows, columns) and outcomes that depend on some of the columns."""
    random = np.random.default_rng(seed)
    codes = plan.layout.codes
    states = np.stack([random.integers(0, code.n_states, count) for code in codes], axis=1)
    signal = states[:, 1] - 1.5 * states[:, 0] + 0.7 * states[:, -1] + random.normal(0, 2, count)
    return states, (signal > np.median(signal)).astype(np.int64)


class Network:
    """A training; `down` are lenders that neither receive nor send, `lost` what they missed."""

    def __init__(self, plan: Plan, data: dict):
        self.plan, self.data = plan, data
        self.names = tuple(sorted(data))
        self.keys = {name: Ed25519PrivateKey.generate() for name in self.names}
        raw = {name: key.public_key().public_bytes_raw() for name, key in self.keys.items()}
        self.group = Group(os.urandom(32), raw)
        pairs = {pair: os.urandom(32) for pair in combinations(self.names, 2)}
        self.secrets: dict[str, bytes] = {}
        self.lenders = {}
        for me in self.names:
            secrets = {o: pairs[tuple(sorted((me, o)))] for o in self.names if o != me}
            locks = LockState.begin(self.group, me, secrets)
            self.lenders[me] = self.lender(
                me, LenderProgress(transcript=self.group.run, locks=locks)
            )
        self.coordinator = Coordinator(plan, self.group)
        self.down: set[str] = set()
        self.inbox = {name: deque() for name in self.names}
        self.outbox: deque = deque()
        self.steps = 0
        for name in self.names:
            self.outbox.append((name, encode(Ready(plan=plan.digest()))))

    def lender(self, me, progress):
        rows = LocalRows(self.plan, *self.data[me])
        secret = self.secrets.setdefault(me, os.urandom(32))
        return Lender(self.plan, self.group, me, self.keys[me].sign, secret, rows, progress)

    # ---- events

    def kill(self, name):
        """Take a lender down; messages to it wait, as they do at the relay."""
        self.down.add(name)

    def bring_back(self, name):
        """Start a lender again from its saved progress."""
        saved = self.lenders[name].progress.model_dump_json()
        self.lenders[name] = self.lender(name, LenderProgress.model_validate_json(saved))
        self.down.discard(name)
        self.outbox.append((name, encode(self.lenders[name].back())))

    def restart_coordinator(self):
        """Replace the coordinator by one from its saved state."""
        saved = self.coordinator.state.model_dump_json()
        self.coordinator = Coordinator(
            self.plan, self.group, CoordinatorState.model_validate_json(saved)
        )

    def deliver(self):
        """Deliver one message in each direction; returns False if there is none."""
        moved = False
        for name in self.names:
            if name not in self.down and self.inbox[name]:
                message = decode_from_coordinator(self.inbox[name].popleft())
                for sent in self.lenders[name].take(message):
                    self.outbox.append((name, encode(sent)))
                moved = True
        if self.outbox:
            name, body = self.outbox.popleft()
            self.post(self.coordinator.take(name, decode_from_lender(name, body)))
            moved = True
        self.steps += moved
        return moved

    def post(self, outs):
        for out in outs:
            for name in self.names if out.to is None else (out.to,):
                self.inbox[name].append(encode(out.message))

    def run(self, most=100_000):
        """Deliver until nothing moves, letting the coordinator's patience end where it waits."""
        for _ in range(most):
            if self.coordinator.state.phase in ("finished", "cancelled") and not self.deliver():
                return self
            if not self.deliver():
                if self.coordinator.state.phase == "paused":
                    return self
                self.post(self.coordinator.overdue())
        raise AssertionError("the training does not end")

    # ---- results

    def record(self):
        return record_of(self.plan, "0" * 32, self.coordinator.state.results)

    def pooled(self):
        """Return the pooled training on just the lenders and levels of the record."""
        rows = {name: LocalRows(self.plan, *data) for name, data in self.data.items()}
        record = self.record()
        return pooled(self.plan, rows, record.grown(), record.usable, record.scored)
