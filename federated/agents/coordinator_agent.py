"""The coordinator of a training: a loop around the state machine, with its database.

The coordinator sees sums of at least three lenders, and never the rows or the sums of one. It may
be stopped or killed at any time; started again, it goes on from its database.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from contract.trainings import COORDINATOR
from federated.agents.member_agent import MEMBER, MemberAgent, Report, resumed
from federated.agents.membership import Membership, MemberState
from federated.agents.names import require_lenders
from federated.agents.posting import Arrived
from federated.agents.progress import (
    LenderView,
    State,
    TrainingView,
)
from federated.agents.state_file import StateFile
from federated.agents.transport import CoordinatorTransport
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.protocol.coordinator import Coordinator, CoordinatorState, Out
from federated.protocol.messages import FromLender, Stopped
from parties.joint.channel import GROUP_SECRET_BYTES
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from utils.errors import InvalidRequest

LONGEST_WAIT = 5.0
"""Longest wait of one call for messages, after which `cancel` and `stop` take effect."""
STAY_SECONDS = 60.0
"""Seconds after the end in which lenders that are away can still be told the result."""
STATE_FILE = "coordinator.sqlite"
_COORDINATOR, _PLAN, _CODES, _CLOCK = "coordinator", "plan", "codes", "clock"
_STATES: dict[str, State] = {"ready": "starting", "uploads": "running", "seeds": "running"}


@dataclass(frozen=True)
class Patience:
    """Seconds that the coordinator waits before it goes on without a lender.

    `start` is for joining, `step` for one message of a step. After `step`, a lender counts as away
    until it is heard from again.
    """

    start: float = 600.0
    step: float = 30.0


class CoordinatorAgent(MemberAgent):
    """One training; `run` works until it has ended. All other methods are thread-safe."""

    def __init__(
        self,
        home: Path,
        client: CoordinatorTransport,
        key: IdentityKey,
        pins: Mapping[str, bytes],
        file: StateFile,
        patience: Patience,
    ) -> None:
        member, plan = file.model(MEMBER, MemberState), file.model(_PLAN, Plan)
        if member is None or plan is None:
            raise InvalidRequest(f"There is no training in {home}; host one.")
        membership = Membership(member, key, pins)
        super().__init__(home, client, membership, file)
        self._client, self._patience = client, patience
        self.plan = plan
        self._cancelled: str | None = None
        self._seconds = float(json.loads(file.part(_CLOCK) or b"0"))
        self._machine: Coordinator | None = None
        state = file.model(_COORDINATOR, CoordinatorState)
        if state is not None:
            state.results = self._stored_results()
            self._machine = self._new_machine(state)
        self._first_view()

    @classmethod
    def host(
        cls,
        home: Path,
        client: CoordinatorTransport,
        key: IdentityKey,
        plan: Plan,
        lenders: Sequence[str],
        pins: Mapping[str, bytes],
        patience: Patience = Patience(),
        hours: float = 24.0,
    ) -> CoordinatorAgent:
        """Host a new training on the server, and keep it in the folder `home`.

        Raises InvalidRequest if the folder has one already or the lenders cannot have these names,
        and the server's errors.
        """
        names = sorted(lenders)
        require_lenders(names)
        file = StateFile.open(home / STATE_FILE)
        try:
            if file.part(MEMBER) is not None:
                raise InvalidRequest(
                    f"{home} already has a training, which goes on as it is. Choose another folder "
                    "by --home for a new one."
                )
            hosted = client.host_training(key.private, names, hours)
            secret = os.urandom(GROUP_SECRET_BYTES)
            member = Membership.fresh(
                hosted.training_id, COORDINATOR, names, hosted.token, secret, key, pins, plan
            )
            codes = {
                name: str(JoinCode(hosted.training_id, code, secret))
                for name, code in hosted.codes.items()
            }
            file.save(
                {
                    MEMBER: member.state.model_dump_json().encode(),
                    _PLAN: plan.model_dump_json().encode(),
                    _CODES: json.dumps(codes).encode(),
                }
            )
            return cls(home, client, key, pins, file, patience)
        except BaseException:
            file.close()
            raise

    @classmethod
    def resume(
        cls,
        home: Path,
        client: CoordinatorTransport,
        key: IdentityKey,
        pins: Mapping[str, bytes],
        patience: Patience = Patience(),
    ) -> CoordinatorAgent | None:
        """Go on with the training in `home`; returns None if there is none."""
        return resumed(home / STATE_FILE, lambda file: cls(home, client, key, pins, file, patience))

    # ---- what others see

    @property
    def codes(self) -> dict[str, str]:
        """The code of each lender, to be given to it alone."""
        found: dict[str, str] = json.loads(self._file.part(_CODES) or b"{}")
        return found

    @property
    def known_plan(self) -> Plan | None:
        """The plan, which a coordinator has always known."""
        return self.plan

    def cancel(self, reason: str = "") -> None:
        """End the training without a model, at the next step of `run`."""
        self._cancelled = reason or "The coordinator cancelled the training."

    # ---- the loop

    def run(self, report: Report | None = None) -> TrainingView:
        """Coordinate until the training has ended or `stop` is called; returns the last view.

        `report` is called after every change. Raises the errors that the server reports, except
        those that pass by themselves.
        """
        phase: tuple[object, ...] = ()
        deadline, ended = math.inf, math.inf
        last = time.monotonic()
        self._tell(report)
        while not self._stopping.is_set():
            now = time.monotonic()
            if self._phase() != phase:
                phase, deadline = self._phase(), now + self._allowed()
            if self._over():
                ended = min(ended, now)
                if not self._membership.state.pending and self._may_leave(now - ended):
                    break
            found = self._exchange(self._wait(deadline - now), report, self._least())
            if found is None:
                continue
            outs = self._taken(found)
            if time.monotonic() >= deadline:
                outs += self._overdue()
                deadline = time.monotonic() + self._allowed()
            for out in outs:
                self._membership.queue(out.to, out.message)
            now = time.monotonic()
            waiting = self._machine is None or self._over()
            self._seconds += 0.0 if waiting else now - last
            last = now
            self._save()
            self._tell(report)
            if not self._posting.open and not self._over():
                raise InvalidRequest(
                    "The server says that the training was closed or has expired; host a new one "
                    "in another folder, by --home."
                )
        if self._machine is None and self._over():
            # Lenders cannot be told before the start; they find the training closed.
            state = self._membership.state
            self._client.close_training(state.training_id, state.token)
        return self._view

    def _taken(self, found: Sequence[Arrived]) -> list[Out]:
        for reason in self._posting.refused:
            self._events.add(f"Ignored a message: {reason}")
        outs: list[Out] = []
        for one in found:
            if one.error is not None:
                self._events.add(f"Refused a message of {one.sender}: {one.error.message}")
            if self._machine is None:
                continue
            if one.error is not None:
                outs += self._machine.exclude(one.sender, one.error.message)
            elif one.message is not None:
                outs += self._machine.take(one.sender, cast(FromLender, one.message))
        if self._cancelled is not None:
            outs += self._cancel(self._cancelled)
        if self._machine is None and not self._missing():
            self._start()
        return outs

    def _cancel(self, reason: str) -> list[Out]:
        # Nobody can read a message before the start; `run` closes the training instead.
        return [] if self._machine is None else self._machine.cancel(reason)

    def _overdue(self) -> list[Out]:
        if self._machine is not None:
            return self._machine.overdue()
        if len(self._joined()) >= self._membership.least_lenders:
            self._start()
        else:
            self._events.add(
                f"Waiting for {', '.join(self._missing())}: at least "
                f"{self._membership.least_lenders} lenders are needed."
            )
        return []

    def _start(self) -> None:
        """Start the training with the lenders that have joined."""
        joined = self._joined()
        self._membership.start(joined)
        self._machine = self._new_machine(None)
        self._events.add(f"The training starts with {', '.join(joined)}.")

    def _joined(self) -> list[str]:
        return sorted(name for name in self._membership.hellos if name != COORDINATOR)

    def _missing(self) -> Sequence[str]:
        if self._machine is not None:
            return self._machine.missing
        return sorted(set(self._membership.state.members) - set(self._joined()))

    def _phase(self) -> tuple[object, ...]:
        machine = self._machine
        return ("joining",) if machine is None else (machine.state.phase, machine.state.step)

    def _allowed(self) -> float:
        if self._machine is None:
            return self._patience.start
        return math.inf if self._machine.state.phase == "paused" else self._patience.step

    def _wait(self, left: float) -> float:
        if self._over():
            return 1.0 if not self._membership.state.pending else 0.0
        return min(LONGEST_WAIT, max(0.0, left))

    def _least(self) -> int:
        return max(1, len(self._missing()))

    def _over(self) -> bool:
        return self._view.state in ("finished", "cancelled")

    def _may_leave(self, since: float) -> bool:
        away = any(one.status == "away" for one in self._view.lenders)
        return not away or since > STAY_SECONDS

    def _new_machine(self, state: CoordinatorState | None) -> Coordinator:
        return Coordinator(self.plan, self._membership.group(), state)

    # ---- files and views

    def _save(self) -> None:
        parts = {
            MEMBER: self._membership.state.model_dump_json().encode(),
            _CLOCK: json.dumps(self._seconds).encode(),
        }
        machine = self._machine
        if machine is None:
            self._save_parts(parts, ())
            return
        state = machine.state
        parts[_COORDINATOR] = state.model_dump_json(exclude={"results"}).encode()
        self._save_parts(parts, state.results)
        if state.phase == "finished":
            self._write_model(self.plan, machine.trees, state.results)

    def _grown(self) -> tuple[Tree, ...]:
        return () if self._machine is None else self._machine.trees

    def _seen(self) -> TrainingView:
        received = self._posting.received
        machine = self._machine
        view = TrainingView(
            training_id=self._membership.state.training_id,
            name=COORDINATOR,
            state="starting" if self._cancelled is None else "cancelled",
            trees_planned=self.plan.trees,
            bytes=sum(received.values()) + self._posting.sent,
            seconds=self._seconds,
            problem=self._problem,
            lenders=tuple(
                LenderView(
                    name=name,
                    status="joined" if name in self._membership.hellos else "expected",
                    bytes=received.get(name, 0),
                )
                for name in self._membership.state.members
            ),
        )
        if machine is None:
            return view
        state = machine.state
        trees = self._trees.of(state.results)
        last = state.results[-1] if state.results else None
        return view.model_copy(
            update={
                "state": _STATES.get(state.phase, state.phase),
                "reason": state.reason,
                "tree": max(0, state.step.tree),
                "level": state.step.level,
                "trees": trees,
                "auc": next((t.auc for t in reversed(trees) if t.auc is not None), None),
                "kept": last.trees if isinstance(last, Stopped) else None,
                "lenders": tuple(
                    LenderView(
                        name=name,
                        status=one.status,
                        reason=one.reason,
                        trees=one.trees,
                        drop_outs=one.drop_outs,
                        bytes=received.get(name, 0),
                    )
                    for name, one in state.lenders.items()
                ),
            }
        )
