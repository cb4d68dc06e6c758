"""Obligations: what a use must respect that a rule of the policy allows.

The file `obligations.json` beside the policies has them for each permitting rule, by its id:

    {"rules": {"research-statistics": {
        "rate_per_hour": 10, "rate_per_day": 50, "retention_days": 365, "least_rows": 10}}}

`masks` is by category, where the mask of the nearest category above a field applies; `field_masks`
is by field and comes first. If several rules allow a use, the strictest of each obligation applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pydantic import BaseModel, ConfigDict, Field, field_validator

from governance.categories import CATEGORIES, MOST_FIELDS, FieldName, with_broader
from governance.masking import Mask, stricter

FILE = "obligations.json"
MOST_DAYS = 3650
MOST_RULES = 500


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleObligations(_Model):
    """The obligations of one rule."""

    rate_per_hour: int = Field(ge=1, le=1_000_000, strict=True)
    rate_per_day: int = Field(ge=1, le=1_000_000, strict=True)
    retention_days: int = Field(ge=0, le=MOST_DAYS, strict=True)
    least_rows: int = Field(default=10, ge=2, le=1_000_000, strict=True)
    masks: dict[str, Mask] = Field(default_factory=dict, max_length=len(CATEGORIES))
    field_masks: dict[FieldName, Mask] = Field(default_factory=dict, max_length=MOST_FIELDS)

    @field_validator("masks")
    @classmethod
    def _known(cls, masks: dict[str, Mask]) -> dict[str, Mask]:
        for category in masks:
            if category not in CATEGORIES:
                raise ValueError(
                    f"{category[:60]!r} is no category; the categories are {', '.join(CATEGORIES)}"
                )
        return masks

    def mask_of(self, field: str, category: str) -> Mask | None:
        """Return the mask of a field, or None if there is none for it."""
        if field in self.field_masks:
            return self.field_masks[field]
        found = [self.masks[each] for each in with_broader(category) if each in self.masks]
        return found[0] if found else None


class ObligationsFile(_Model):
    """The content of `obligations.json`."""

    rules: dict[str, RuleObligations] = Field(max_length=MOST_RULES)


class Obligations(_Model):
    """The limits of one use: the strictest of all rules that allow it.

    `masks` has a mask for each field of a release, and is empty for the other actions.
    `least_rows` is the least number of rows that a statistic may be about.
    """

    rate_per_hour: int
    rate_per_day: int
    retention_days: int
    least_rows: int
    masks: dict[str, Mask]


def unmasked(
    allowing: Mapping[str, Sequence[RuleObligations]], categories: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the fields for which no rule that allows them has a mask.

    `allowing` has for each field the obligations of the rules that allow it.
    """
    return tuple(
        field
        for field, rules in allowing.items()
        if all(rule.mask_of(field, categories[field]) is None for rule in rules)
    )


def combine(
    allowing: Mapping[str, Sequence[RuleObligations]],
    categories: Mapping[str, str],
    masked: bool,
) -> tuple[Obligations, tuple[str, ...]]:
    """Return the obligations of a use, and the fields without a mask if `masked` ones are needed.

    `allowing` has for each field the obligations of the rules that allow it, at least one.
    """
    rules = [rule for each in allowing.values() for rule in each]
    masks: dict[str, Mask] = {}
    for field, each in allowing.items() if masked else ():
        found = [rule.mask_of(field, categories[field]) for rule in each]
        given = [mask for mask in found if mask is not None]
        if given:
            masks[field] = reduce(stricter, given)
    strictest = Obligations(
        rate_per_hour=min(rule.rate_per_hour for rule in rules),
        rate_per_day=min(rule.rate_per_day for rule in rules),
        retention_days=min(rule.retention_days for rule in rules),
        least_rows=max(rule.least_rows for rule in rules),
        masks=masks,
    )
    return strictest, unmasked(allowing, categories) if masked else ()
