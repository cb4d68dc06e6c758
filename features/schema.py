"""The schema: parties, columns, domains and what the explanation varies, read from a JSON file.

The schema is public and is data: the page's forms, the encoding, the training, the programs and
the tests all follow from it. `Schema.load` reads a file; `Schema.fingerprint` names its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils.errors import SchemaInvalid, UnknownColumn, UnknownParty
from utils.strict_json import parse_json

MAXIMUM_BINS = 16
"""Bins of an ordinal column: with more, the public cut points would say more than they need to."""
MAXIMUM_SCHEMA_BYTES = 1 << 20

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
PartyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def number_text(value: float) -> str:
    """A number as people write it: `10000000`, not `1e+07`."""
    return f"{value:.12g}"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Column(_Model):
    name: Name = Field(description="Name in records, CSV headers and messages.")
    label: str = Field(description="What the form shows.", max_length=80)
    help: str = Field(default="", description="One sentence below the field.", max_length=300)
    optional: bool = Field(default=False, description="May be missing; then has its own bit.")


class BooleanColumn(_Column):
    """Yes or no, one bit."""

    kind: Literal["boolean"]
    default: bool | None = Field(default=False, description="The form's first value.")

    @model_validator(mode="after")
    def _check(self) -> BooleanColumn:
        if self.default is None and not self.optional:
            raise ValueError(f"{self.name}: a column that is not optional needs a default")
        return self


class OrdinalColumn(_Column):
    """A number, cut at public points and sent as a thermometer code (x >= cut)."""

    kind: Literal["ordinal"]
    unit: str = Field(default="", description="Shown behind the number.", max_length=40)
    minimum: float = Field(description="Smallest allowed value.")
    maximum: float = Field(description="Largest allowed value.")
    integer: bool = Field(default=False, description="Whole numbers only.")
    cuts: list[float] = Field(
        description="Public cut points, rising.", min_length=1, max_length=MAXIMUM_BINS - 1
    )
    default: float | None = Field(default=None, description="The form's first value.")
    form: Literal["number", "bins"] = Field(
        default="number", description="Whether the form asks for the number or for its bin."
    )

    @model_validator(mode="after")
    def _check(self) -> OrdinalColumn:
        if any(a >= b for a, b in pairwise(self.cuts)):
            raise ValueError(f"{self.name}: the cuts must rise strictly")
        if not self.minimum < self.cuts[0] or not self.cuts[-1] <= self.maximum:
            raise ValueError(f"{self.name}: every cut must lie above minimum and within maximum")
        if self.default is not None and not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"{self.name}: the default lies outside minimum and maximum")
        own = [self.minimum, *self.cuts, self.minimum if self.default is None else self.default]
        if self.integer and not all(number.is_integer() for number in own):
            raise ValueError(f"{self.name}: minimum, cuts and default must be whole numbers")
        if self.default is None and not self.optional:
            raise ValueError(f"{self.name}: a column that is not optional needs a default")
        return self

    def bin_labels(self) -> list[str]:
        """One label a bin, lowest first, such as `0-2`, `2-5`, `5+`."""
        edges = [self.minimum, *self.cuts]
        texts = [number_text(edge) for edge in edges]
        inner = [f"{a}-{b}" for a, b in pairwise(texts)]
        return [*inner, f"{texts[-1]}+"]

    def bin_floor(self, index: int) -> float:
        """The smallest value of bin `index`."""
        return [self.minimum, *self.cuts][index]


class CategoricalColumn(_Column):
    """One of a public list of values, sent one-hot."""

    kind: Literal["categorical"]
    values: list[Annotated[str, Field(pattern=r"\S", max_length=80)]] = Field(
        description="Every allowed value.", min_length=2, max_length=64
    )
    default: str | None = Field(default=None, description="The form's first value.")

    @model_validator(mode="after")
    def _check(self) -> CategoricalColumn:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: a value is listed twice")
        if self.default is None and not self.optional:
            raise ValueError(f"{self.name}: a column that is not optional needs a default")
        if self.default is not None and self.default not in self.values:
            raise ValueError(f"{self.name}: the default is not among the values")
        return self


Column = Annotated[BooleanColumn | OrdinalColumn | CategoricalColumn, Field(discriminator="kind")]


class Party(_Model):
    """One party and the columns that only it knows."""

    name: PartyName = Field(description="The client type on the wire.")
    label: str = Field(description="What the page shows.", max_length=80)
    description: str = Field(default="", description="One sentence.", max_length=300)
    columns: list[Column] = Field(min_length=1, max_length=64)


class Decision(_Model):
    """What is decided, and how the training data says it."""

    target: Name = Field(description="The label column of the training data.")
    approved_value: Literal[0, 1] = Field(
        default=0, description="The label that means approval; 0 where the column says `bad`."
    )
    approved: str = Field(default="approved", max_length=40)
    denied: str = Field(default="denied", max_length=40)


class Explanation(_Model):
    """Which ordinal column the explanation varies, and what it takes for granted meanwhile."""

    column: Name = Field(description="An ordinal column; more of it is what would be advised.")
    assume: dict[str, bool] = Field(
        default_factory=dict,
        description="Boolean columns of the same party set to this while the column varies.",
    )
    phrase: str = Field(description="As in: at least 5 `years of employment`.", max_length=80)
    monotone: bool = Field(
        default=True, description="Train so that more of the column never lowers the score."
    )


class Schema(_Model):
    """The whole public contract; see the module."""

    name: Name
    title: str = Field(max_length=120)
    description: str = Field(default="", max_length=600)
    parties: list[Party] = Field(min_length=2, max_length=8)
    decision: Decision
    explanation: Explanation
    audit: list[Name] = Field(
        default_factory=list,
        description="Columns by whose values the model card reports outcomes.",
        max_length=8,
    )
    zero_is_missing: bool = Field(
        default=False,
        description="The booster was trained on a sparse matrix of the bits that stores no zeros, "
        "so that XGBoost takes every 0 for missing. For imported boosters only.",
    )

    @model_validator(mode="after")
    def _check(self) -> Schema:
        parties = [party.name for party in self.parties]
        names = [column.name for column in self.columns()]
        for kind, listed in (("party", parties), ("column", names)):
            twice = sorted({name for name in listed if listed.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} named twice: {', '.join(twice)}")
        if self.decision.target in names:
            raise ValueError(f"the target {self.decision.target} must not be a column as well")
        unknown = sorted(set(self.audit) - set(names))
        if unknown:
            raise ValueError(f"audit names no column: {', '.join(unknown)}")
        by_name = {c.name: (p.name, c) for p in self.parties for c in p.columns}
        owner, explained = by_name.get(self.explanation.column, (None, None))
        if not isinstance(explained, OrdinalColumn):
            raise ValueError("explanation.column must name an ordinal column of the schema")
        for name in self.explanation.assume:
            holder, column = by_name.get(name, (None, None))
            if not isinstance(column, BooleanColumn) or holder != owner:
                raise ValueError(
                    f"explanation.assume: {name} must be a boolean column of party {owner}"
                )
        return self

    def columns(self) -> Iterator[Column]:
        """Every column, party by party."""
        for party in self.parties:
            yield from party.columns

    @property
    def party_names(self) -> list[str]:
        return [party.name for party in self.parties]

    def party(self, name: str) -> Party:
        """The party called `name`; raises UnknownParty."""
        for party in self.parties:
            if party.name == name:
                return party
        raise UnknownParty(
            f"There is no party {name[:40]!r}; the parties are {', '.join(self.party_names)}."
        )

    def column(self, name: str) -> Column:
        """The column called `name`; raises UnknownColumn."""
        for column in self.columns():
            if column.name == name:
                return column
        raise UnknownColumn(f"The schema has no column {name[:80]!r}.")

    @property
    def explained_column(self) -> OrdinalColumn:
        column = self.column(self.explanation.column)
        if not isinstance(column, OrdinalColumn):  # the validator has seen to it
            raise SchemaInvalid("explanation.column must name an ordinal column of the schema")
        return column

    @property
    def explained_party(self) -> str:
        """The party that owns the explained column."""
        name = self.explanation.column
        return next(p.name for p in self.parties if any(c.name == name for c in p.columns))

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: two equal schemas have equal names."""
        document = self.model_dump(mode="json")
        if not self.zero_is_missing:
            # Schemas from before this field keep their fingerprints, and so their deployments.
            del document["zero_is_missing"]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def parse(cls, document: Any, source: str = "the schema") -> Schema:
        """Validate a decoded JSON document; raises SchemaInvalid that names every fault."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in e['loc']) or 'schema'}: {e['msg']}"
                for e in error.errors()[:5]
            )
            raise SchemaInvalid(f"{source} cannot be used: {faults}.") from error

    @classmethod
    def load(cls, path: Path) -> Schema:
        """Read a schema file; raises SchemaInvalid."""
        try:
            if path.stat().st_size > MAXIMUM_SCHEMA_BYTES:
                raise SchemaInvalid(f"{path} is larger than a schema may be (1 MiB).")
            document = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SchemaInvalid(f"{path} cannot be read as a JSON schema: {error}") from error
        return cls.parse(document, str(path))
