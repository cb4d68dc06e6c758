"""A lender in a training: a loop around the state machine, with its files.

The rows stay in this process. Sums of them leave it masked, so that only the sum over all lenders
of the roster can be opened. The agent may be stopped or killed at any time; started again with the
same rows, it goes on from its folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from contract.trainings import COORDINATOR
from features.encoding import Layout
from features.records import Records
from federated.agents.limits import LenderLimits
from federated.agents.member_agent import MEMBER, MemberAgent, Report, resumed
from federated.agents.membership import Membership, MemberState, Pending
from federated.agents.names import require_name
from federated.agents.posting import Arrived
from federated.agents.progress import (
    LenderView,
    State,
    TrainingView,
)
from federated.agents.state_file import StateFile
from federated.agents.transport import LenderTransport
from federated.aggregation.lock_state import LockState
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.protocol.lender import Lender, LenderProgress
from federated.protocol.messages import (
    Back,
    FromCoordinator,
    FromLender,
    Grown,
    Ready,
    Refused,
)
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from parties.trainings_client import TrainingReceived
from utils.errors import (
    InvalidRequest,
    OutOfStep,
    PartiesDisagree,
    PlanRefused,
    TrainingDataInvalid,
    TrisealError,
)

LONGEST_WAIT = 5.0
"""Longest wait of one call for messages, after which `leave` and `stop` take effect."""
STATE_FILE = "lender.sqlite"
_PROGRESS, _FACTS, _FAILURE = "progress", "facts", "failure"
_UNREAD = (
    "A first message cannot be opened with this lender's code. If the code was typed or cut, it "
    "cannot be used again: ask the coordinator for a new training."
)


@dataclass(frozen=True)
class Own:
    """A lender's own part: its rows, its identity key, the keys it pins, and its limits."""

    layout: Layout
    records: Records
    key: IdentityKey
    pins: Mapping[str, bytes]
    limits: LenderLimits = field(default_factory=LenderLimits)


class LenderAgent(MemberAgent):
    """One lender in one training; `run` works until it has ended.

    All other methods are thread-safe.
    """

    def __init__(self, home: Path, client: LenderTransport, own: Own, file: StateFile) -> None:
        member = file.model(MEMBER, MemberState)
        if member is None:
            raise InvalidRequest(f"There is no training in {home}; join one with a code.")
        membership = Membership(member, own.key, own.pins)
        super().__init__(home, client, membership, file)
        self._own = own
        self._require_same_rows()
        self._leaving = False
        self._machine: Lender | None = None
        failure = file.part(_FAILURE)
        self._failure = None if failure is None else failure.decode()
        self._unread = ""
        self._began = time.monotonic()
        progress = file.model(_PROGRESS, LenderProgress)
        if progress is not None:
            progress.results = self._stored_results()
            self._machine = self._new_machine(progress)
        self._first_view()

    @classmethod
    def join(
        cls, home: Path, client: LenderTransport, name: str, code: str, own: Own
    ) -> LenderAgent:
        """Join a training with the code from its coordinator, and keep it in the folder `home`.

        Raises InvalidRequest if the code is unreadable, the name is not allowed or the folder has a
        training already, and the server's errors.
        """
        require_name(name)
        parsed = JoinCode.parse(code)
        file = StateFile.open(home / STATE_FILE)
        try:
            if file.part(MEMBER) is not None:
                raise InvalidRequest(
                    f"{home} already has a training, which goes on without a code. Choose another "
                    "folder by --home for a new one."
                )
            joined = client.join_training(parsed.client_id, name, parsed.server_code)
            member = Membership.fresh(
                parsed.client_id,
                name,
                joined.members,
                joined.token,
                parsed.group_secret,
                own.key,
                own.pins,
            )
            file.save(
                {MEMBER: member.state.model_dump_json().encode(), _FACTS: _facts(own.records)}
            )
            return cls(home, client, own, file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def resume(cls, home: Path, client: LenderTransport, own: Own) -> LenderAgent | None:
        """Go on with the training in `home`; returns None if there is none."""
        return resumed(home / STATE_FILE, lambda file: cls(home, client, own, file))

    # ---- what others see

    @property
    def token(self) -> str:
        """The secret by which the transport recognises this lender."""
        return self._membership.state.token

    @property
    def after(self) -> int:
        """The id of the last message that was taken and saved."""
        return self._membership.state.after

    @property
    def known_plan(self) -> Plan | None:
        """The plan, or None before the coordinator's first message."""
        return self._membership.plan if COORDINATOR in self._membership.hellos else None

    def leave(self) -> None:
        """Take no further part, at the next step of `run`; the others go on without this lender."""
        self._leaving = True

    # ---- the loop

    def run(self, report: Report | None = None) -> TrainingView:
        """Take part until the training has ended or `stop` is called; returns the last view.

        `report` is called after every change. Raises the errors that the server reports, except
        those that pass by themselves, and the error for which this lender takes no further part.
        """
        if self._machine is not None and not self._over():
            self._membership.queue(COORDINATOR, self._machine.back())
        self._save()  # a message leaves only once it is saved; the model may not be written yet
        self._tell(report)
        while not self._stopping.is_set():
            over = self._over()
            if over and not self._membership.state.pending:
                break
            found = self._exchange(0.0 if over else LONGEST_WAIT, report)
            if found is None or over:
                continue
            failure = self._taken(found)
            self._save()
            self._tell(report)
            if failure is not None:
                with suppress(TrisealError):
                    self._posting.exchange(0.0)  # so that the coordinator knows the reason
                raise failure
            if not self._posting.open and not self._over():
                raise InvalidRequest(
                    "The server says that the training was closed or has expired; ask its "
                    "coordinator for the code of a new one, and join that in another folder, by "
                    "--home."
                )
        return self._view

    def deliver(
        self, messages: Sequence[TrainingReceived], confirmed: int, announce: bool = False
    ) -> list[Pending]:
        """Take messages that a transport without `exchange` has brought; returns those to send.

        Used instead of `run`. Messages up to number `confirmed` have reached the coordinator; all
        others are returned at every call. If `announce` is true, the coordinator may have gone on
        without this lender, and is told that it is back. The error for which this lender takes no
        further part is in the view.
        """
        state = self._membership.state
        state.pending = self.unconfirmed(confirmed)
        if not self._over():
            new = [one for one in messages if one.id > state.after]
            self._taken(self._posting.opened(new))
            if announce and self._machine is not None and not self._over():
                self._membership.queue(COORDINATOR, self._machine.back())
            state.after = max([state.after, *(one.id for one in new)])
        self._save()
        self._tell(None)
        return list(state.pending)

    def unconfirmed(self, confirmed: int) -> list[Pending]:
        """Return the messages to send whose number is above `confirmed`."""
        return [one for one in self._membership.state.pending if one.number > confirmed]

    def _taken(self, found: Sequence[Arrived]) -> TrisealError | None:
        """Take messages; returns the error for which this lender takes no further part."""
        for reason in self._posting.refused:
            self._events.add(f"Ignored a message: {reason}")
            if self.known_plan is None:
                self._unread = _UNREAD
        try:
            if self._machine is None and self._membership.has_started:
                self._begin()
            if self._membership.is_left_out:
                raise OutOfStep(
                    "The training has started without this lender, which had not joined in time. "
                    "Ask the coordinator for a new training, and join it earlier."
                )
            if self._leaving:
                raise PartiesDisagree("This lender has left the training.")
            sent: list[FromLender] = []
            for one in found:
                if one.error is not None and one.sender == COORDINATOR:
                    raise one.error
                if one.error is not None:  # the start is refused if it names this lender
                    self._events.add(f"Refused a message of {one.sender}: {one.error.message}")
                if self._machine is None or one.message is None or one.sender != COORDINATOR:
                    continue
                sent += self._machine.take(cast(FromCoordinator, one.message))
            if self._posting.dropped and self._machine is not None:
                sent.append(self._machine.back())
            for own in without_repeats(sent):
                self._membership.queue(COORDINATOR, own)
        except TrisealError as error:
            self._failure = error.message
            if self._membership.has_started:
                refused = Refused(code=error.code, reason=error.message[:500])
                self._membership.queue(COORDINATOR, refused)
            return error
        return None

    def _begin(self) -> None:
        """Agree to the plan, after checking it against this lender's own limits."""
        plan = self._membership.plan
        self._own.limits.require(plan, self._own.layout.schema)
        self._require_pinned()
        group = self._membership.group()
        pairwise = {
            name: secret
            for name, secret in self._membership.channel.pairwise.items()
            if name != COORDINATOR
        }
        self._began = time.monotonic()
        locks = LockState.begin(group, self._membership.state.me, pairwise)
        progress = LenderProgress(transcript=self._membership.run, locks=locks)
        self._machine = self._new_machine(progress)
        self._membership.queue(COORDINATOR, Ready(plan=plan.digest()))
        self._events.add(f"The training starts with {', '.join(self._membership.lenders)}.")

    def _require_pinned(self) -> None:
        """Raise PlanRefused if some lenders are pinned and others are not.

        A coordinator could otherwise add lenders of its own, and learn the sums of the rest.
        """
        own = self._membership.state.me
        others = [name for name in self._membership.lenders if name != own]
        unknown = [name for name in others if name not in self._own.pins]
        if self._own.pins and unknown:
            raise PlanRefused(
                f"The trust file has no key of {', '.join(unknown)}, and they take part in the "
                "training. Add their keys after asking them, or have them left out."
            )

    def _new_machine(self, progress: LenderProgress) -> Lender:
        plan = self._membership.plan
        rows = LocalRows(plan, self._own.records.states, self._own.records.outcomes)
        state = self._membership.state
        group, sign = self._membership.group(), self._membership.sign
        return Lender(plan, group, state.me, sign, state.master, rows, progress)

    def _over(self) -> bool:
        return self._failure is not None or (
            self._machine is not None and self._machine.progress.phase in ("finished", "cancelled")
        )

    # ---- files and views

    def _require_same_rows(self) -> None:
        """Raise TrainingDataInvalid if the rows are not those with which this lender joined."""
        if self._file.part(_FACTS) != _facts(self._own.records):
            raise TrainingDataInvalid(
                f"{self._home} has a training with other rows than these. Start it with the same "
                "data file, or choose another folder by --home."
            )

    def _save(self) -> None:
        parts = {MEMBER: self._membership.state.model_dump_json().encode()}
        if self._failure is not None:
            parts[_FAILURE] = self._failure.encode()
        machine = self._machine
        if machine is None:
            self._save_parts(parts, ())
            return
        progress = machine.progress
        parts[_PROGRESS] = progress.model_dump_json(exclude={"results"}).encode()
        self._save_parts(parts, progress.results)
        if progress.phase == "finished":
            self._write_model(machine.plan, machine.trees, progress.results)

    def _state(self) -> State:
        if self._failure is not None:
            return "failed"
        if self._machine is None:
            return "starting"
        phase = self._machine.progress.phase
        return {"waiting": "starting", "working": "running"}.get(phase, phase)  # type: ignore[return-value]

    def _grown(self) -> tuple[Tree, ...]:
        return () if self._machine is None else self._machine.trees

    def _seen(self) -> TrainingView:
        machine = self._machine
        known = COORDINATOR in self._membership.hellos
        trees = self._trees.of(machine.progress.results) if machine is not None else ()
        last = trees[-1].lenders if trees else ()
        results = machine.progress.results if machine is not None else []
        grown = next((one for one in reversed(results) if isinstance(one, Grown)), None)
        names = self._membership.lenders or self._membership.state.members
        state = self._state()
        return TrainingView(
            training_id=self.training_id,
            name=self._membership.state.me,
            state=state,
            reason=self._failure or (machine.progress.reason if machine is not None else ""),
            tree=0 if grown is None else grown.splits.tree,
            level=0 if grown is None else grown.splits.level,
            trees_planned=self._membership.plan.trees if known else 0,
            trees=trees,
            auc=next((t.auc for t in reversed(trees) if t.auc is not None), None),
            lenders=tuple(
                LenderView(
                    name=name,
                    status=_status(name, names, self._membership.hellos, last),
                    trees=sum(name in tree.lenders for tree in trees),
                )
                for name in self._membership.state.members
            ),
            bytes=self._posting.sent + sum(self._posting.received.values()),
            seconds=time.monotonic() - self._began,
            problem=self._problem or ("" if known else self._unread),
            kept=len(machine.trees) if machine is not None and state == "finished" else None,
        )


def without_repeats(sent: Sequence[FromLender]) -> list[FromLender]:
    """Return the messages with the last `Back` alone: after an absence, every old one asks for it.

    A `Back` makes the coordinator send all results that are missing.
    """
    last = next((one for one in reversed(sent) if isinstance(one, Back)), None)
    return [one for one in sent if one is last or not isinstance(one, Back)]


def _status(name: str, lenders: Sequence[str], joined: Container[str], last: Sequence[str]) -> str:
    """Return a lender's state as another lender knows it: from the roster of the last tree."""
    if name not in lenders:
        return "not part"
    if not last:
        return "joined" if name in joined else "expected"
    return "working" if name in last else "away"


def _facts(records: Records) -> bytes:
    """Return a digest of the rows, by which a lender recognises them after a restart."""
    digest = hashlib.sha256(records.states.tobytes() + records.outcomes.tobytes()).hexdigest()
    return json.dumps({"rows": len(records), "sha256": digest}).encode()
