"""The plan of a training by several lenders: its public parameters, equal for all of them."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from features.encoding import Layout
from features.schema import Schema
from federated.aggregation.masking import MOST_NUMBERS
from federated.boosting.trees import MAXIMUM_DEPTH
from federated.privacy.parameters import Privacy
from model.booster import MAXIMUM_TREES
from utils.errors import PlanInvalid

SCORE_NUMBERS = 256
"""Numbers of a score histogram (federated/boosting/scores.py)."""
LARGEST_SCHEMA = 192 * 1024
"""Bytes of the schema in the coordinator's hello, which the relay has to take."""


class Plan(BaseModel):
    """Parameters of one training; the names are XGBoost's where it has the same parameter.

    `least_rows` is the smallest number of rows that a merged state may have over all lenders.
    `early_stopping` is a number of trees without a higher validation AUC. `validation_share` is
    the share of each lender's rows that no tree is grown on.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_by_name=True,
        serialize_by_alias=True,
    )

    schema_: Schema = Field(alias="schema")
    trees: int = Field(default=60, ge=1, le=MAXIMUM_TREES)
    depth: int = Field(default=3, ge=1, le=MAXIMUM_DEPTH)
    learning_rate: float = Field(default=0.3, gt=0, le=1)
    reg_lambda: float = Field(default=1.0, ge=0, le=1e6)
    gamma: float = Field(default=0.0, ge=0, le=1e6)
    min_child_weight: float = Field(default=1.0, ge=0, le=1e6)
    least_rows: int = Field(default=10, ge=1, le=1_000_000)
    early_stopping: int | None = Field(default=None, ge=1, le=MAXIMUM_TREES)
    validation_share: float = Field(default=0.2, ge=0, le=0.5)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _check(self) -> Plan:
        if self.schema_.zero_is_missing:
            raise ValueError("the schema sets zero_is_missing, which is for imported boosters only")
        if self.early_stopping is not None and not self.validation_share:
            raise ValueError("early_stopping needs a validation_share above 0")
        if self._longest_vector() > MOST_NUMBERS:
            raise ValueError(
                f"a sum would have {self._longest_vector()} numbers, and {MOST_NUMBERS} are the "
                "most: lower the depth, or have fewer columns, cuts or categories"
            )
        if len(self.schema_.model_dump_json()) > LARGEST_SCHEMA:
            raise ValueError(
                f"the schema has more than {LARGEST_SCHEMA >> 10} KiB; shorten its texts"
            )
        return self

    def _longest_vector(self) -> int:
        """Return a bound of the numbers in a step's vector: of all states, and of the scores.

        Below the root, only the left child of each node split at the level before is sent.
        """
        nodes = 1 << max(0, self.depth - 2)
        return 2 * nodes * self.layout.n_states + SCORE_NUMBERS

    @classmethod
    def parse(cls, document: Any, source: str = "the plan") -> Plan:
        """Validate a decoded JSON document; raises PlanInvalid, naming up to five faults."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in e['loc']) or 'plan'}: "
                f"{e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()[:5]
            )
            raise PlanInvalid(f"{source} cannot be used: {faults}.") from error

    @cached_property
    def layout(self) -> Layout:
        """The positions of the schema's bits and states."""
        return Layout(self.schema_)

    @cached_property
    def monotone(self) -> frozenset[int]:
        """The bits that may only raise the score: those of the explained column's cuts."""
        if not self.schema_.explanation.monotone:
            return frozenset()
        first = self.layout.code(self.schema_.explanation.column).first_bit
        return frozenset(range(first, first + len(self.schema_.explained_column.cuts)))

    @property
    def least_hessian(self) -> float:
        """The smallest sum of hessians of a node.

        A row's hessian p(1 - p) is at most 1/4, so a node with k/4 has at least k rows. No step
        therefore counts the rows of a node.
        """
        return max(self.min_child_weight, self.least_rows / 4)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal; equal for equal plans."""
        document = self.model_dump(mode="json")
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
