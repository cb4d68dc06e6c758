"""A lender's state in the secure sums of a run; secret, and saved before a message leaves.

The roots in it are those of the tree of `step`. The caller keeps no other copy of the pairwise
secrets: a lender that has lost its state could otherwise be made to mask a second vector.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from federated.aggregation.group import LONGEST_NAME, MOST_LENDERS, Group
from federated.aggregation.seeds import SEED_BYTES, advanced
from federated.aggregation.statement import Statement, Step
from utils.errors import ForeignMessage

FIRST_TREE = -1

_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
_Bytes32 = Annotated[bytes, Field(min_length=32, max_length=32)]


class Sent(BaseModel):
    """The last upload: its statement and the SHA-256 of its vector; `locked` once revealed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    step: Step
    roster: tuple[_Name, ...] = Field(max_length=MOST_LENDERS)
    transcript: _Bytes32 = Field(repr=False)
    vector: _Bytes32 = Field(repr=False)
    locked: bool = False

    def is_of(self, stated: Statement, vector: bytes) -> bool:
        """Return True if exactly this vector, by digest, was sent under this statement."""
        own = (self.step, self.roster, self.transcript, self.vector)
        return own == (stated.step, stated.roster, stated.transcript, vector)


class LockState(BaseModel):
    """The lender's roots, and its last upload; immutable."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    version: Literal[1] = 1
    run: _Bytes32 = Field(repr=False)
    me: _Name
    own_root: _Bytes32 = Field(repr=False)
    pair_roots: dict[_Name, _Bytes32] = Field(repr=False, max_length=MOST_LENDERS)
    sent: Sent | None = None

    @classmethod
    def begin(cls, group: Group, me: str, pairwise: Mapping[str, bytes]) -> Self:
        """Return the state of a lender that has sent nothing yet, once in a run.

        `pairwise` has a secret of 32 uniform bytes with each other lender, by name. The lender's
        own root is drawn from the operating system. Raises UnknownLender and ValueError.
        """
        group.require_known(me)
        if set(pairwise) != set(group.lenders) - {me}:
            raise ValueError("there is a pairwise secret for each other lender of the run")
        if any(len(secret) != SEED_BYTES for secret in pairwise.values()):
            raise ValueError(f"pairwise secrets have {SEED_BYTES} bytes")
        own = os.urandom(SEED_BYTES)
        return cls(run=group.run, me=me, own_root=own, pair_roots=dict(pairwise))

    def require_of(self, group: Group, me: str) -> None:
        """Raise ForeignMessage unless this is the state of this lender in this run."""
        same = (self.run, self.me) == (group.run, me)
        if not same or set(self.pair_roots) != set(group.lenders) - {me}:
            raise ForeignMessage(
                f"The saved state of secure sums is not that of {me} in this run. Start the agent "
                "with the folder that it used when it joined."
            )

    def at(self, tree: int) -> Self:
        """Return the state with the roots of a later tree; those before are gone."""
        trees = tree - (self.sent.step.tree if self.sent else FIRST_TREE)
        if not trees:
            return self
        pairs = {name: advanced(root, trees) for name, root in self.pair_roots.items()}
        update = {"own_root": advanced(self.own_root, trees), "pair_roots": pairs}
        return self.model_copy(update=update)

    def with_sent(self, sent: Sent) -> Self:
        """Return the state after an upload, or with its lock."""
        return self.model_copy(update={"sent": sent})
