"""A lender's side of the secure sums: it masks its vectors and reveals what opens one sum a level.

The rules, with which no two sums of one level can be opened while fewer than a third of the lenders
collude with the coordinator:

- One vector is sent under one statement in each step, and steps only rise. A repeated request
  returns the same bytes.
- A seed is revealed only after everyone on the roster has signed exactly the lender's own
  statement. The lender is then locked: it sends nothing for another attempt of this level.
- After an upload for a later attempt nothing is revealed for an earlier one, neither the own seed
  nor a share of another's.
- The roster of a tree stays the same after its root. A lender that was not at the root joins at the
  next tree.

Why two sums of one level cannot be opened: let there be N lenders, T shares that recover a seed,
rosters of at least M, and c colluders. Two rosters have an honest lender in common, since
c < 2 M - N, and it reveals its own seed for one of them only. Its other seed would take T shares.
Those come from colluders and from honest lenders that have locked the other attempt, which hence
are not on the first roster: c + N - M at most, which is below T. Both hold while c < N / 3.

Unlike in Bonawitz et al. (CCS 2017), the seeds of pairs are never revealed, so that a vector that
arrives late stays masked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from engines.levelled.words import words_to_bytes
from federated.aggregation.group import Group
from federated.aggregation.lock_state import LockState, Sent
from federated.aggregation.masking import Vector, masked, vector_bytes
from federated.aggregation.sealed_share import open_share, seal_share
from federated.aggregation.seeds import pair_seed, polynomial, seed_commitment
from federated.aggregation.shamir import ELEMENT_BYTES, share_at
from federated.aggregation.statement import Statement, Step
from federated.aggregation.upload import Upload
from utils.errors import RosterRefused, SignatureInvalid, StepRefused


class LenderMasks:
    """One lender in one run. Save `state` before a returned message leaves the machine."""

    def __init__(
        self, group: Group, me: str, sign: Callable[[bytes], bytes], state: LockState
    ) -> None:
        """`sign` returns the lender's Ed25519 signature. Raises ForeignMessage, UnknownLender."""
        group.require_known(me)
        state.require_of(group, me)
        self._group, self._me, self._sign, self._state = group, me, sign, state

    @property
    def state(self) -> LockState:
        return self._state

    def upload(
        self, step: Step, roster: tuple[str, ...], transcript: bytes, vector: Vector
    ) -> Upload:
        """Return the lender's masked vector, shape (numbers,), with its signed statement.

        `transcript` is the SHA-256 of the run's announcements so far. Raises RosterRefused,
        StepRefused and MalformedMessage; the state is then unchanged.
        """
        stated = self._group.statement(step, roster, transcript)
        if self._me not in roster:
            raise RosterRefused(
                f"The roster for {step} is without {self._me}, so nothing was sent. It joins at "
                "the next tree."
            )
        digest = hashlib.sha256(vector_bytes(vector)).digest()
        state = self._going_to(stated, digest)
        coefficients = polynomial(
            state.own_root, stated.digest, digest, threshold=self._group.threshold
        )
        seed = _seed(coefficients)
        others = [name for name in roster if name != self._me]
        pairs = {name: pair_seed(state.pair_roots[name], stated.digest) for name in others}
        found = Upload(
            step=step,
            statement=stated.digest,
            signature=self._sign(stated.text),
            commitment=seed_commitment(stated.digest, self._me, seed),
            shares=tuple(self._sealed(state, stated, name, coefficients) for name in others),
            masked=words_to_bytes(masked(vector, self._me, seed, pairs)),
        )
        self._state = state
        return found

    def reveal(self, step: Step, signatures: Mapping[str, bytes]) -> bytes:
        """Lock the attempt and return the seed of the own self-mask, 32 bytes.

        `signatures` has everyone's on the roster, by name. Raises StepRefused for another step than
        the last upload's, and SignatureInvalid, which names a lender that did not sign the same
        statement.
        """
        sent = self._require_current(step)
        stated = self._stated(sent)
        for name in sent.roster:
            if name not in signatures:
                raise SignatureInvalid(
                    f"The signature of {name} for {step} is missing, so nothing was revealed. Wait "
                    "until everyone on the roster has sent its vector.",
                    name,
                )
            if name != self._me:
                self._group.require_signed(name, stated, signatures[name])
        self._state = self._state.with_sent(sent.model_copy(update={"locked": True}))
        return _seed(
            polynomial(
                *(self._state.own_root, stated.digest, sent.vector),
                threshold=self._group.threshold,
            )
        )

    def reveal_share(self, step: Step, of: str, sealed: bytes) -> bytes:
        """Return this lender's share of the seed of one that has vanished, 32 bytes.

        Raises StepRefused unless this lender has locked the step, RosterRefused for itself or a
        lender that is not on the roster, and RevealInvalid if the share was not made by `of`.
        """
        sent = self._require_current(step)
        if not sent.locked:
            raise StepRefused(
                f"{self._me} has not seen all signatures for {step} yet, so it reveals no share. "
                "Send it the signatures first."
            )
        if of == self._me or of not in sent.roster:
            raise RosterRefused(
                f"{self._me} reveals shares only of other lenders on the roster of {step}."
            )
        stated = self._stated(sent)
        return open_share(self._state.pair_roots[of], stated, of, self._me, sealed)

    def _going_to(self, stated: Statement, vector: bytes) -> LockState:
        """Return the state after this upload; raises StepRefused and RosterRefused."""
        sent, step = self._state.sent, stated.step
        if sent is not None:
            if sent.is_of(stated, vector):
                return self._state
            self._require_later(sent, step)
        if step.level > 0 and (sent is None or sent.step.tree != step.tree):
            raise RosterRefused(
                f"{self._me} was not at the root of tree {step.tree}, so it sends nothing for "
                "later levels. It joins at the next tree."
            )
        if step.level > 0 and sent is not None and sent.roster != stated.roster:
            raise RosterRefused(
                f"The roster has changed within tree {step.tree}, so nothing was sent. The tree "
                "ends here; the next one starts with the lenders that are there."
            )
        new = Sent(step=step, roster=stated.roster, transcript=stated.transcript, vector=vector)
        return self._state.at(step.tree).with_sent(new)

    def _require_later(self, sent: Sent, step: Step) -> None:
        if step == sent.step:
            raise StepRefused(
                f"{self._me} has already sent another vector, or one for another roster or "
                f"history, for {step}. Nothing was sent; the run goes on at the next attempt."
            )
        if step < sent.step:
            raise StepRefused(
                f"{self._me} has gone on to {sent.step}; it sends nothing more for {step}."
            )
        if sent.locked and (step.tree, step.level) == (sent.step.tree, sent.step.level):
            raise StepRefused(
                f"{self._me} has opened {sent.step}, so it sends nothing for another attempt of "
                "that level. Complete the attempt, with shares of the lenders that have vanished."
            )

    def _require_current(self, step: Step) -> Sent:
        sent = self._state.sent
        if sent is None or sent.step != step:
            where = "nothing yet" if sent is None else f"its last vector for {sent.step}"
            raise StepRefused(
                f"{self._me} reveals nothing for {step}, since it has sent {where}. It reveals "
                "only for the step of its last vector."
            )
        return sent

    def _stated(self, sent: Sent) -> Statement:
        return self._group.statement(sent.step, sent.roster, sent.transcript)

    def _sealed(
        self, state: LockState, stated: Statement, holder: str, coefficients: list[int]
    ) -> bytes:
        share = share_at(coefficients, self._group.position(holder))
        return seal_share(state.pair_roots[holder], stated, self._me, holder, share)


def _seed(coefficients: list[int]) -> bytes:
    return coefficients[0].to_bytes(ELEMENT_BYTES, "little")
