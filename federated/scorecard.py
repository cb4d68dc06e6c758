"""The Fineract credit scorecard's call: its flat body as a record, and a decision as its response.

The body has `age`, `sex`, `job`, `housing`, `credit`, `purpose` and `duration`, in the words and
codes of the scorecard's data set (github.com/apache/fineract-credit-scorecard: the German credit
data with job levels 0 to 3), or in those of features/german_credit.json. Words may be in any case.

Two words of the scorecard cover more than one purpose of the schema. `car` is read as a used car,
and `vacation/others` as another purpose: of the loans they cover in the South German Credit data,
these are the more frequent kind, and the less often repaid one, so that no applicant gains by the
less precise word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from features.contradictions import broken_rules
from features.encoding import Layout, allowed
from utils.errors import InvalidRequest, ValueOutOfDomain

SCHEMA = "german_credit"
FIELDS = ("age", "sex", "job", "housing", "credit", "purpose", "duration")
OTHER_NAMES = {"credit_amount": "credit"}
"""Other names of fields: the scorecard's own service calls the amount `credit_amount`."""

JOBS = ("unskilled non-resident", "unskilled resident", "skilled", "highly skilled")
"""The schema's job levels, by the scorecard's code."""
_WORDS = {
    "sex": {},
    "job": {
        **{str(code): job for code, job in enumerate(JOBS)},
        "unskilled and non-resident": JOBS[0],
        "unskilled and resident": JOBS[1],
    },
    "housing": {"for free": "free"},
    "purpose": {
        "car": "car (used)",
        "new car": "car (new)",
        "used car": "car (used)",
        "appliances": "domestic appliances",
        "furniture": "furniture/equipment",
        "other": "others",
        "radio/television": "radio/TV",
        "vacation/others": "others",
    },
}
"""Further words for the values of the schema's categories, in lower case."""

GREEN_FROM = 0.7
"""Probability from which the colour is green: the share of good loans in the data."""

Color = Literal["green", "orange", "red"]
Method = Literal["federated", "federated-encrypted"]


class Prediction(BaseModel):
    """The response of the scorecard's call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: float | None = Field(
        ge=0.0,
        le=1.0,
        description="Probability of a good loan; null if the parties opened only the decision.",
    )
    label: Literal["good", "bad"] = Field(description="Good if the model approves the loan.")
    method: Method = Field(
        description="Whether the lender's machine computed it, or the parties on encrypted data."
    )
    color: Color = Field(
        description="Red for a bad loan; orange for a good one with a probability below 0.7."
    )
    request_id: int = Field(ge=0, description="Number of this request at this lender.")


def record_of(body: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Return the record of features/german_credit.json, by column, that a flat body describes.

    `sex` may be absent, null or empty. Raises InvalidRequest, which names the field and not its
    value, for a body that lacks a field or has another one, and for a value that is not allowed.
    """
    fields = _by_own_name(body)
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise InvalidRequest(
            f"{', '.join(name[:40] for name in unknown[:5])}: not a field of the scorecard; send "
            f"{', '.join(FIELDS)}."
        )
    record = {name: _value(name, fields.get(name), layout) for name in FIELDS}
    for name, value in record.items():
        code = layout.code(name)
        try:
            code.state(value)
        except (ValueOutOfDomain, TypeError, ValueError):
            raise InvalidRequest(f"{name}: give {allowed(code.column)}.") from None
    for party in layout.schema.party_names:
        for rule in broken_rules(layout.schema, party, record):
            raise InvalidRequest(f"{', '.join(rule.columns)}: {rule.text}")
    return record


def prediction_of_margin(margin: float, request_id: int) -> Prediction:
    """Return the response for a margin (log odds of a good loan) computed on this machine.

    A margin of 0 or more approves, as in the compiled programs.
    """
    probability = _sigmoid(margin)
    good = margin >= 0
    return Prediction(
        probability=probability,
        label="good" if good else "bad",
        method="federated",
        color=_color(probability) if good else "red",
        request_id=request_id,
    )


def prediction_of_decision(approved: bool, request_id: int) -> Prediction:
    """Return the response for a decision on encrypted data, of which only the sign was opened."""
    return Prediction(
        probability=None,
        label="good" if approved else "bad",
        method="federated-encrypted",
        color="green" if approved else "red",
        request_id=request_id,
    )


def _by_own_name(body: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for given, value in body.items():
        name = OTHER_NAMES.get(given, given)
        if name in fields:
            raise InvalidRequest(f"{name} is given twice, once as {given}; send it once.")
        fields[name] = value
    return fields


def _value(name: str, given: Any, layout: Layout) -> Any:
    """Return the schema's word for a category in any accepted spelling; others unchanged."""
    if name not in _WORDS:
        return given
    if name == "job" and isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str):
        return given
    word = given.strip().lower()
    own = {value.lower(): value for value in layout.code(name).state_labels}
    return _WORDS[name].get(word) or own.get(word, given)


def _color(probability: float) -> Color:
    return "green" if probability >= GREEN_FROM else "orange"


def _sigmoid(margin: float) -> float:
    # Both branches avoid an overflow. The last bit may differ between machines, which matters in
    # training and not here.
    if margin >= 0:
        return 1.0 / (1.0 + math.exp(-margin))
    power = math.exp(margin)
    return power / (1.0 + power)
