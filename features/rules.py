"""Rules of a schema: combinations of values that contradict each other in one party's record.

A rule lists conditions that never all hold. Each condition compares one column with listed values,
with a number or with another column. There is no nesting: "or" is a second rule, and "not" is the
opposite comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, StrictBool, model_validator

from features.schema_base import Language, Name, SchemaPart, Text

MAXIMUM_RULES = 32
MAXIMUM_CONDITIONS = 8
MAXIMUM_VALUES = 64

Number = Annotated[float, Field(strict=True)]
Wording = Annotated[str, Field(pattern=r"\S", max_length=200)]


class OtherColumn(SchemaPart):
    """The value of another ordinal column, plus a constant."""

    column: Name = Field(description="An ordinal column of the same party.")
    plus: Number = Field(default=0.0, description="Added to its value.")


class Condition(SchemaPart):
    """One comparison of a column; exactly one of the comparisons must be given."""

    column: Name
    one_of: list[StrictBool | Text] | None = Field(
        default=None,
        description="Holds for these values of a boolean or categorical column.",
        min_length=1,
        max_length=MAXIMUM_VALUES,
    )
    at_least: Number | OtherColumn | None = Field(
        default=None, description="Holds from this number on; for ordinal columns, like the next."
    )
    above: Number | OtherColumn | None = None
    at_most: Number | OtherColumn | None = None
    below: Number | OtherColumn | None = None

    added = frozenset({"one_of", "at_least", "above", "at_most", "below"})

    @model_validator(mode="after")
    def _check(self) -> Condition:
        given = [name for name in sorted(self.added) if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a condition on {self.column} needs one comparison")
        return self

    @property
    def comparison(self) -> tuple[str, float | OtherColumn] | None:
        """The comparison of an ordinal column and what it is compared with, or None."""
        bounds: Mapping[str, float | OtherColumn | None] = {
            "at_least": self.at_least,
            "above": self.above,
            "at_most": self.at_most,
            "below": self.below,
        }
        return next(((name, bound) for name, bound in bounds.items() if bound is not None), None)

    @property
    def columns(self) -> Iterator[str]:
        """The names of the columns that the condition reads."""
        yield self.column
        if self.comparison is not None and isinstance(self.comparison[1], OtherColumn):
            yield self.comparison[1].column


class Rule(SchemaPart):
    """Conditions on the columns of one party that never all hold, and the words to say if they do.

    A rule does not apply to a record that lacks a value of one of its columns.
    """

    name: Name
    never: list[Condition] = Field(
        description="The record contradicts itself if all of these hold.",
        min_length=1,
        max_length=MAXIMUM_CONDITIONS,
    )
    text: Wording = Field(description="Says, in English, what to correct.")
    texts: dict[Language, Wording] = Field(
        default_factory=dict, description="The same in other languages, by ISO 639-1 code."
    )

    added = frozenset({"texts"})

    @property
    def columns(self) -> list[str]:
        """The names of the columns that the rule reads, each once."""
        return list(dict.fromkeys(name for each in self.never for name in each.columns))
