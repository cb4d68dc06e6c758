"""The coordinator's side of a training: a state machine without network, clock or files.

The caller delivers the lenders' messages to `take`, calls `overdue` if a phase has lasted too long,
saves `state`, and then sends the returned messages in their order. After a restart, a coordinator
made from the saved state goes on from there.

A step at a tree's root is repeated without a lender that has not uploaded: a new attempt, with
fresh masks. If a lender is missing at a later level, the tree ends at the level it has reached:
growing it again without that lender would open the same sums with and without its rows, and their
difference would be its own. The next tree begins without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from federated.aggregation.coordinator_side import Opening
from federated.aggregation.group import Group
from federated.aggregation.statement import Step
from federated.aggregation.upload import Upload
from federated.boosting.cells import cells_of
from federated.boosting.counts import counts_length
from federated.boosting.first_root import first_root
from federated.boosting.fixed_point import Vector
from federated.boosting.grower import Grower
from federated.boosting.trees import Tree
from federated.boosting.usable_bits import choose_bits
from federated.plan import Plan
from federated.protocol.messages import (
    AllUploaded,
    Ask,
    Back,
    Cancelled,
    Counted,
    Earlier,
    Ended,
    Finished,
    FromCoordinator,
    FromLender,
    Grown,
    Ready,
    Recover,
    Recovered,
    Refused,
    Result,
    Revealed,
    Stopped,
    Uploaded,
)
from federated.protocol.replay import finished_trees
from federated.protocol.transcript import extended
from utils.errors import InvalidRequest, LenderAtFault, MalformedMessage, TrisealError

PART_BYTES = 96 * 1024
"""Most bytes of the results in one message, unless it has only one; the relay takes 256 KiB."""

Phase = Literal["ready", "uploads", "seeds", "paused", "finished", "cancelled"]
LenderStatus = Literal["expected", "working", "done", "away", "refused"]


@dataclass(frozen=True)
class Out:
    """A message to one lender, or to all if `to` is None."""

    to: str | None
    message: FromCoordinator


class LenderState(BaseModel):
    """One lender, as the coordinator sees it; `trees` is the number of trees grown on its rows."""

    status: LenderStatus = "expected"
    reason: str = ""
    trees: int = 0
    drop_outs: int = 0


class CoordinatorState(BaseModel):
    """All that a coordinator needs to go on after a restart; contains opened sums.

    `uploads`, `seeds` and `shares` (by their maker, then by holder) belong to the present step, and
    `sums` are the opened sums of the present tree's levels. `asked` is the number of results that
    all lenders were sent.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    phase: Phase = "ready"
    lenders: dict[str, LenderState]
    results: list[Result] = []
    transcript: Annotated[bytes, Field(repr=False)]
    step: Step = Step(tree=0)
    roster: tuple[str, ...] = ()
    uploads: dict[str, bytes] = Field(default={}, repr=False)
    seeds: dict[str, bytes] = Field(default={}, repr=False)
    shares: dict[str, dict[str, bytes]] = Field(default={}, repr=False)
    sums: list[bytes] = Field(default=[], repr=False)
    asked: int = 0
    reason: str = ""


class Coordinator:
    """The state machine of a training among the lenders of `group`."""

    def __init__(self, plan: Plan, group: Group, state: CoordinatorState | None = None) -> None:
        self.plan, self._group = plan, group
        self.state = state or CoordinatorState(
            lenders={name: LenderState() for name in group.lenders}, transcript=group.run
        )
        self._grower: Grower | None = None
        self._opening: Opening | None = None
        self._restore()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The finished trees; after the end, those that are kept."""
        if self._grower is None:
            return ()
        return self._grower.kept() if self.state.phase == "finished" else self._grower.trees

    @property
    def missing(self) -> tuple[str, ...]:
        """The lenders that the present phase waits for."""
        state = self.state
        if state.phase == "ready":
            return tuple(n for n, one in state.lenders.items() if one.status == "expected")
        if self._opening is None:
            return ()
        uploads = state.phase == "uploads"
        return self._opening.missing_uploads if uploads else self._opening.missing_seeds

    # ---- events

    def take(self, lender: str, message: FromLender) -> list[Out]:
        """Take a message of a lender; returns the messages to send.

        The sender of a message that does not fit is excluded, with the reason in its state. Late
        and repeated messages are ignored. Raises InvalidRequest for an unknown lender.
        """
        self._require_known(lender)
        if self.state.phase in ("finished", "cancelled"):
            return self._missed(lender, message.results) if isinstance(message, Back) else []
        if isinstance(message, Refused):
            return self._gone(lender, "refused", message.reason)
        try:
            return self._taken(lender, message)
        except LenderAtFault as error:
            return self._gone(error.lender or lender, "refused", error.message)
        except MalformedMessage as error:
            return self._gone(lender, "refused", error.message)

    def exclude(self, lender: str, reason: str) -> list[Out]:
        """Go on without a lender whose message cannot be read; raises InvalidRequest."""
        self._require_known(lender)
        over = self.state.phase in ("finished", "cancelled")
        return [] if over else self._gone(lender, "refused", reason)

    def _require_known(self, lender: str) -> None:
        if lender not in self.state.lenders:
            raise InvalidRequest(f"{lender} is not a lender of this training.")

    def _taken(self, lender: str, message: FromLender) -> list[Out]:
        out = self._of_kind(lender, message)
        over = self.state.phase in ("finished", "cancelled")
        if self.state.lenders[lender].status == "away" and not over:
            # It was slow, not gone, and has had all that was sent to everyone.
            out += self._back(lender, Back(results=self.state.asked))
        return out

    def _of_kind(self, lender: str, message: FromLender) -> list[Out]:
        if isinstance(message, Ready):
            return self._ready(lender, message)
        if isinstance(message, Back):
            return self._back(lender, message)
        if isinstance(message, Uploaded):
            return self._uploaded(lender, message)
        if isinstance(message, Revealed):
            return self._revealed(lender, message)
        if isinstance(message, Recovered):
            return self._recovered(lender, message)
        return []

    def overdue(self) -> list[Out]:
        """Go on without those that the present phase waits for, where that is possible."""
        missing = self.missing
        for lender in missing:
            self._lose(lender, "away", "It has not answered in time.")
        if self.state.phase == "ready":
            return self._begin()
        if self.state.phase == "uploads":
            return self._without(missing)
        return self._recover()

    def cancel(self, reason: str) -> list[Out]:
        """End the training without a model."""
        if self.state.phase in ("finished", "cancelled"):
            return []
        self.state.phase, self.state.reason = "cancelled", reason[:500]
        self._forget_step()
        return [Out(None, Cancelled(reason=reason[:500]))]

    # ---- steps

    def _ready(self, lender: str, message: Ready) -> list[Out]:
        if message.plan != self.plan.digest():
            return self._gone(lender, "refused", "It has agreed to another plan.")
        if self.state.phase != "ready":
            return self._back(lender, Back(results=0))
        self.state.lenders[lender].status = "working"
        return [] if self.missing else self._begin()

    def _begin(self) -> list[Out]:
        """Ask for the step of `state.step` with everyone who is present, or pause.

        Ends the training if too few are left that could come back.
        """
        state = self.state
        roster = self._present()
        left = [name for name, one in state.lenders.items() if one.status != "refused"]
        if len(left) < self._group.least_roster:
            return self.cancel(
                f"{len(state.lenders) - len(left)} of {len(state.lenders)} lenders have left or "
                f"were excluded, and {self._group.least_roster} are needed. Their reasons are "
                "beside their names; host another training."
            )
        if len(roster) < self._group.least_roster:
            state.phase = "paused"
            state.reason = (
                f"{len(roster)} of {len(state.lenders)} lenders are here, and "
                f"{self._group.least_roster} are needed."
            )
            self._forget_step()
            return []
        state.phase, state.roster = "uploads", roster
        return self._ask()

    def _ask(self) -> list[Out]:
        state = self.state
        state.reason = ""
        self._forget_step()
        self._opening = self._new_opening()
        first, state.asked = state.asked, len(state.results)
        results = tuple(state.results[first:])
        return [Out(None, Ask(first=first, results=results, step=state.step, roster=state.roster))]

    def _uploaded(self, lender: str, message: Uploaded) -> list[Out]:
        state, opening = self.state, self._opening
        upload = Upload.from_bytes(message.upload)
        if opening is None or upload.step != state.step or lender not in state.roster:
            return []
        opening.take_upload(lender, upload)
        if state.phase != "uploads":
            return []
        state.uploads[lender] = message.upload
        if opening.missing_uploads:
            return []
        state.phase = "seeds"
        return [Out(None, self._all_uploaded(opening))]

    def _all_uploaded(self, opening: Opening) -> AllUploaded:
        return AllUploaded(step=opening.step, signatures=opening.signatures)

    def _revealed(self, lender: str, message: Revealed) -> list[Out]:
        opening = self._opening_for(lender, message.step)
        if opening is None:
            return []
        opening.take_seed(lender, message.seed)
        self.state.seeds[lender] = message.seed
        return self._opened(opening) if opening.ready else []

    def _recovered(self, lender: str, message: Recovered) -> list[Out]:
        opening = self._opening_for(lender, message.step)
        if opening is None:
            return []
        for of, share in message.shares.items():
            opening.take_share(lender, of, share)
            self.state.shares.setdefault(of, {})[lender] = share
        return self._opened(opening) if opening.ready else []

    def _opening_for(self, lender: str, step: Step) -> Opening | None:
        state = self.state
        due = state.phase == "seeds" and step == state.step and lender in state.roster
        return self._opening if due else None

    def _opened(self, opening: Opening) -> list[Out]:
        """Use the sums of the step that is complete, and begin the next step."""
        try:
            return self._grown(opening.sum())
        except LenderAtFault:
            raise
        except TrisealError as error:  # sums that no rows give, and nobody knows by whom
            return self.cancel(error.message)

    def _grown(self, sums: Vector) -> list[Out]:
        state, step = self.state, self.state.step
        if self._grower is None:
            usable = choose_bits(self.plan, sums)
            self._grower = Grower(self.plan, usable)
            self._add(Counted(usable=usable))
            sums = first_root(self.plan, cells_of(self.plan, usable), sums)
        grower = self._grower
        found = grower.take(step.tree, step.level, sums, self._rows())
        if found.splits is None:
            return self._finish(grower, state.roster)
        state.sums.append(sums.tobytes())
        if step.level == 0:
            for lender in state.roster:
                state.lenders[lender].trees += 1
        self._add(Grown(lenders=state.roster, splits=found.splits, auc=found.auc))
        if found.tree is not None:
            return self._next_tree(step.tree + 1)
        state.step = Step(tree=step.tree, level=step.level + 1)
        gone = [name for name in state.roster if state.lenders[name].status != "working"]
        if gone:
            return self._without(gone)
        state.phase = "uploads"
        return self._ask()

    def _without(self, gone: Iterable[str]) -> list[Out]:
        """Go on without lenders of the roster that have not uploaded."""
        state, step = self.state, self.state.step
        if step.level == 0:
            state.step = Step(tree=step.tree, level=0, attempt=step.attempt + 1)
            return self._begin()
        self._required_grower().cut()
        self._add(Ended(tree=step.tree, lost=tuple(sorted(gone))))
        return self._next_tree(step.tree + 1)

    def _next_tree(self, tree: int) -> list[Out]:
        self.state.sums = []
        self.state.step = Step(tree=tree)
        grower = self._required_grower()
        # After a tree that changed all rows alike, another roster would be asked for the sums of
        # the same gradients; lenders refuse that (federated/protocol/lender.py).
        return (
            self._finish(grower) if grower.done or grower.trees[-1].is_constant else self._begin()
        )

    def _finish(self, grower: Grower, scored: tuple[str, ...] = ()) -> list[Out]:
        """End the training; `scored` are the lenders of the last step if it has opened scores."""
        state, aucs = self.state, grower.aucs
        kept = len(grower.kept())
        self._add(
            Stopped(
                trees=kept,
                scored=scored,
                auc=aucs[kept - 1] if 0 < kept <= len(aucs) else None,
                last_auc=aucs[-1] if aucs else None,
            )
        )
        state.phase = "finished"
        self._forget_step()
        for one in state.lenders.values():
            if one.status == "working":
                one.status = "done"
        first, state.asked = state.asked, len(state.results)
        return [Out(None, Finished(first=first, results=tuple(state.results[first:])))]

    # ---- lenders that go and come back

    def _gone(self, lender: str, status: LenderStatus, reason: str) -> list[Out]:
        """Go on without a lender that was excluded or has left."""
        state = self.state
        self._lose(lender, status, reason)
        if state.phase == "ready":
            return [] if self.missing else self._begin()
        if lender not in state.roster:
            return []
        if state.phase == "uploads":
            return self._without([lender])
        return self._recover() if state.phase == "seeds" else []

    def _lose(self, lender: str, status: LenderStatus, reason: str) -> None:
        one = self.state.lenders[lender]
        if one.status == "refused":
            return
        if one.status == "working":
            one.drop_outs += 1
        one.status, one.reason = status, reason[:500]

    def _back(self, lender: str, message: Back) -> list[Out]:
        """Take back a lender: send it what it missed, and its part of the present step."""
        state = self.state
        one = state.lenders[lender]
        if one.status == "refused" or state.phase == "ready":
            return []
        one.status, one.reason = "working", ""
        if state.phase == "paused":
            # Only a new roster may be sent: an upload for the old one would be refused.
            asked, begun = state.asked, self._begin()
            late = bool(begun) and message.results < asked
            return [*(self._missed(lender, message.results) if late else []), *begun]
        out = self._missed(lender, message.results)
        due = state.phase == "seeds" and lender in state.roster and lender not in state.seeds
        if due and self._opening is not None:
            out.append(Out(lender, self._all_uploaded(self._opening)))
        return out

    def _missed(self, lender: str, known: int) -> list[Out]:
        """Return what a lender has to be told that has only `known` results."""
        state = self.state
        if state.phase == "cancelled":
            return [Out(lender, Cancelled(reason=state.reason))]
        finished = state.phase == "finished"
        here = lender in state.roster
        if not finished and (not state.roster or (known >= len(state.results) and not here)):
            return []  # else both would tell each other the same until the next tree
        *earlier, (first, results) = _parts(state.results, known)
        out = [Out(lender, Earlier(first=each, results=part)) for each, part in earlier]
        if finished:
            return [*out, Out(lender, Finished(first=first, results=results))]
        ask = Ask(first=first, results=results, step=state.step, roster=state.roster)
        return [*out, Out(lender, ask)]

    def _recover(self) -> list[Out]:
        """Ask those who are present for their shares of the missing seeds.

        If they have too few, the tree ends, or at a root, where another attempt could open a second
        sum, the training waits for those that are missing.
        """
        state, opening = self.state, self._opening
        if state.phase != "seeds" or opening is None:
            return []
        lost = self._unrecoverable(opening)
        if lost and state.step.level:
            return self._without(lost)
        state.reason = self._waiting_for(lost) if lost else ""
        out: list[Out] = []
        for holder in state.roster:
            if state.lenders[holder].status != "working":
                continue
            known = {of for of, shares in state.shares.items() if holder in shares}
            shares = {of: s for of, s in opening.shares_for(holder).items() if of not in known}
            if shares:
                out.append(Out(holder, Recover(step=state.step, shares=shares)))
        return out

    def _unrecoverable(self, opening: Opening) -> list[str]:
        """Return the lenders that are away and whose seeds those who are present cannot recover."""
        state = self.state
        here = {name for name in state.roster if state.lenders[name].status == "working"}
        return [
            name
            for name in opening.missing_seeds
            if name not in here
            and len(here | set(state.shares.get(name, {}))) < self._group.threshold
        ]

    def _waiting_for(self, lost: list[str]) -> str:
        return (
            f"Waiting for {', '.join(lost)}: {self.state.step} cannot be opened without its seed, "
            f"of which {self._group.threshold} lenders of its roster would have to have shares."
        )[:500]

    def _present(self) -> tuple[str, ...]:
        return tuple(n for n, one in self.state.lenders.items() if one.status == "working")

    # ---- state

    def _rows(self) -> int | None:
        """Return the most training rows of the present roster, if all of it was counted."""
        results, roster = self.state.results, self.state.roster
        first = results[0] if results else None
        if not isinstance(first, Counted):
            return None
        root = next((one for one in results if isinstance(one, Grown)), None)
        counted = roster if root is None else root.lenders  # the count is the first root
        return first.usable.rows if set(roster) <= set(counted) else None

    def _required_grower(self) -> Grower:
        if self._grower is None:
            raise InvalidRequest("No tree can be grown before the first count.")
        return self._grower

    def _add(self, result: Result) -> None:
        self.state.results.append(result)
        self.state.transcript = extended(self.state.transcript, result)

    def _forget_step(self) -> None:
        self.state.uploads, self.state.seeds, self.state.shares = {}, {}, {}
        self._opening = None

    def _new_opening(self) -> Opening:
        state = self.state
        grower = self._grower
        length = counts_length(self.plan) if grower is None else grower.length()
        return Opening(self._group, state.step, state.roster, state.transcript, length)

    def _restore(self) -> None:
        """Make the grower and the opening again from the state."""
        state = self.state
        first = state.results[0] if state.results else None
        if isinstance(first, Counted):
            self._grower = Grower(
                self.plan, first.usable, *finished_trees(self.plan, state.results)
            )
            for level, sums in enumerate(state.sums):
                vector = np.frombuffer(sums, np.uint64)
                self._grower.take(len(self._grower.trees), level, vector)
        if state.phase not in ("uploads", "seeds"):
            return
        self._opening = opening = self._new_opening()
        for lender, upload in state.uploads.items():
            opening.take_upload(lender, Upload.from_bytes(upload))
        for lender, seed in state.seeds.items():
            opening.take_seed(lender, seed)
        for of, shares in state.shares.items():
            for holder, share in shares.items():
                opening.take_share(holder, of, share)


def _parts(results: Sequence[Result], first: int) -> list[tuple[int, tuple[Result, ...]]]:
    """Return the results from number `first` on in parts that fit into messages.

    Each part has the number of its first result; the last part may be empty.
    """
    parts: list[tuple[int, tuple[Result, ...]]] = []
    size = 0
    for number in range(first, len(results)):
        size += len(results[number].model_dump_json())
        if number > first and size > PART_BYTES:
            parts.append((first, tuple(results[first:number])))
            first, size = number, len(results[number].model_dump_json())
    return [*parts, (first, tuple(results[first:]))]
