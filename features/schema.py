"""The schema: parties, columns, their domains and the explained column, read from a JSON file.

The schema is public data from which the pages' forms, the encoding, the training and the programs
are derived. `Schema.load` reads a file; `Schema.fingerprint` identifies its content.
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
"""Maximum number of bins of an ordinal column, so that the public cut points reveal little."""
MAXIMUM_SCHEMA_BYTES = 1 << 20

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
PartyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def number_text(value: float) -> str:
    """Format a number for people: `10000000`, not `1e+07`."""
    return f"{value:.12g}"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Column(_Model):
    name: Name = Field(description="Name in records, CSV headers and messages.")
    label: str = Field(description="Label in the form.", max_length=80)
    help: str = Field(default="", description="One sentence below the field.", max_length=300)
    optional: bool = Field(
        default=False, description="True if the value may be missing; adds a bit."
    )


class BooleanColumn(_Column):
    """A column with two values, encoded as one bit."""

    kind: Literal["boolean"]
    default: bool | None = Field(default=False, description="The form's first value.")

    @model_validator(mode="after")
    def _check(self) -> BooleanColumn:
        if self.default is None and not self.optional:
            raise ValueError(f"{self.name}: a column that is not optional needs a default")
        return self


class OrdinalColumn(_Column):
    """A number, divided into bins by public cuts and encoded as a thermometer code (x >= cut)."""

    kind: Literal["ordinal"]
    unit: str = Field(default="", description="Shown after the number.", max_length=40)
    minimum: float = Field(description="Smallest allowed value.")
    maximum: float = Field(description="Largest allowed value.")
    integer: bool = Field(default=False, description="Whole numbers only.")
    cuts: list[float] = Field(
        description="Public cut points, in rising order.", min_length=1, max_length=MAXIMUM_BINS - 1
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
        """Return one label per bin, lowest first: for example, `0-2`, `2-5`, `5+`."""
        edges = [self.minimum, *self.cuts]
        texts = [number_text(edge) for edge in edges]
        inner = [f"{a}-{b}" for a, b in pairwise(texts)]
        return [*inner, f"{texts[-1]}+"]

    def bin_floor(self, index: int) -> float:
        """Return the smallest value of bin `index`."""
        return [self.minimum, *self.cuts][index]


class CategoricalColumn(_Column):
    """One of a public list of values, encoded one-hot."""

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
    """A party and the columns whose values only it knows."""

    name: PartyName = Field(description="Name in messages and API calls.")
    label: str = Field(description="Label on the pages.", max_length=80)
    description: str = Field(default="", description="One sentence.", max_length=300)
    columns: list[Column] = Field(min_length=1, max_length=64)


class Decision(_Model):
    """The decision, and its encoding in the training data."""

    target: Name = Field(description="The label column of the training data.")
    approved_value: Literal[0, 1] = Field(
        default=0,
        description="The label that means approval: for example, 0 if 1 means a bad loan.",
    )
    approved: str = Field(default="approved", max_length=40)
    denied: str = Field(default="denied", max_length=40)


class Explanation(_Model):
    """The ordinal column that the explanation varies, and its assumptions."""

    column: Name = Field(description="An ordinal column; the explanation advises more of it.")
    assume: dict[str, bool] = Field(
        default_factory=dict,
        description="Values of boolean columns of the same party while the column varies.",
    )
    phrase: str = Field(description="As in: at least 5 `years of employment`.", max_length=80)
    monotone: bool = Field(
        default=True,
        description="Train so that a higher value of the column never lowers the score.",
    )


class Schema(_Model):
    """A public schema; see the module's docstring."""

    name: Name
    title: str = Field(max_length=120)
    description: str = Field(default="", max_length=600)
    parties: list[Party] = Field(min_length=2, max_length=8)
    decision: Decision
    explanation: Explanation
    audit: list[Name] = Field(
        default_factory=list,
        description="Columns by which the model card breaks down outcomes.",
        max_length=8,
    )
    zero_is_missing: bool = Field(
        default=False,
        description="True if the booster was trained on a sparse matrix of the bits without stored "
        "zeros, so that XGBoost treats every 0 as missing. For imported boosters only.",
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
            raise ValueError(f"audit lists unknown columns: {', '.join(unknown)}")
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
        """Iterate over all columns, party by party."""
        for party in self.parties:
            yield from party.columns

    @property
    def party_names(self) -> list[str]:
        return [party.name for party in self.parties]

    def party(self, name: str) -> Party:
        """Return the party named `name`; raises UnknownParty."""
        for party in self.parties:
            if party.name == name:
                return party
        raise UnknownParty(
            f"There is no party {name[:40]!r}; the parties are {', '.join(self.party_names)}."
        )

    def column(self, name: str) -> Column:
        """Return the column named `name`; raises UnknownColumn."""
        for column in self.columns():
            if column.name == name:
                return column
        raise UnknownColumn(f"The schema has no column {name[:80]!r}.")

    @property
    def explained_column(self) -> OrdinalColumn:
        column = self.column(self.explanation.column)
        if not isinstance(column, OrdinalColumn):  # excluded by the validator
            raise SchemaInvalid("explanation.column must name an ordinal column of the schema")
        return column

    @property
    def explained_party(self) -> str:
        """The party that owns the explained column."""
        name = self.explanation.column
        return next(p.name for p in self.parties if any(c.name == name for c in p.columns))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal; equal for equal schemas."""
        document = self.model_dump(mode="json")
        if not self.zero_is_missing:
            # Keeps the fingerprints, and so the deployments, of schemas older than this field.
            del document["zero_is_missing"]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def parse(cls, document: Any, source: str = "the schema") -> Schema:
        """Validate a decoded JSON document; raises SchemaInvalid, naming up to five faults."""
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
                raise SchemaInvalid(f"{path} is larger than the limit for a schema (1 MiB).")
            document = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SchemaInvalid(f"{path} cannot be read as a JSON schema: {error}") from error
        return cls.parse(document, str(path))
