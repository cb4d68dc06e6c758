"""Principal reasons for a denial, from the opened values of the reasons program."""

from __future__ import annotations

from collections.abc import Sequence

from features.schema import Reason, Schema

MOST_REASONS = 4
"""Reasons that a statement gives at most: more help nobody (commentary on 12 CFR 1002.9(b)(2))."""
MOST_STATED = 32
"""Most reasons of a program; a schema with more columns and no list of reasons has no program."""


def principal_reasons(schema: Schema, values: Sequence[float]) -> list[Reason]:
    """Return at most four reasons, the weightiest first; of equal ones, in the schema's order.

    `values` has one value for each of `schema.stated_reasons`: points, or levels of points, by
    which the applicant lies below the average of approved applicants. A value of 0 or less is no
    reason.
    """
    order = sorted(range(len(values)), key=lambda i: -values[i])
    stated = schema.stated_reasons
    return [stated[i] for i in order[:MOST_REASONS] if values[i] > 0]
