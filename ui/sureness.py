"""One sentence on how sure a decision is, from its distance to the line between both outcomes."""

from __future__ import annotations

import math

from features.schema import Decision as DecisionWords
from parties.results import Decision

_FAR = (
    (1.25, "very close to the line"),
    (2.0, "close to the line"),
    (5.0, "clear of the line"),
)
"""Words for the odds in relation to those at the line, up to each of these numbers."""
_NEAR = 1.25
ENGINES = "So near to the line, engines may differ, since each rounds the model in its own way."


def sureness(decision: Decision, words: DecisionWords) -> str:
    """Return the sentence; empty if the decision comes without a score.

    The score is in log-odds of approval, counted from the line, so that its exponential is the
    factor by which the odds differ from those at the line, whatever odds the line stands for. With
    a scale in the schema, the distance is also in its points.
    """
    if decision.log_odds is None:
        return ""
    distance = abs(decision.log_odds)
    factor = math.exp(min(distance, 50.0))
    far = next((text for limit, text in _FAR if factor < limit), "far from the line")
    points = ""
    if words.scale is not None:
        count = f"{distance * words.scale.double / math.log(2):.0f}"
        points = f", {count} point{'' if count == '1' else 's'} of the score scale"
    own = words.approved if decision.approved else words.denied
    sentence = (
        f"How sure: {far} between {words.approved} and {words.denied}. By this model, the odds "
        f"of {own} are {_times(factor)} those at the line{points}."
    )
    return f"{sentence} {ENGINES}" if factor < _NEAR else sentence


def _times(factor: float) -> str:
    return f"{factor:.2f} times" if factor < 10 else f"{min(factor, 9999):,.0f} times"
