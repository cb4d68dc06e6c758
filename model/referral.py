"""The grey zone of a decision: applications that the program refers to a person of the lender.

Without a zone, `decide` has one output, the score, and a score of 0 or more is approved. With a
zone of g units, it has a second output, the score plus g. Both come from one evaluation, since only
their constants differ. Their signs give one of three outcomes:

    score >= 0                    approved
    score < 0 <= score + g        referred
    score + g < 0                 denied

The two signs tell a reader the outcome and nothing else, since of their four values one cannot
occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.polynomial import ONE, Polynomial
from utils.errors import OpeningFailed

Outcome = Literal["approved", "referred", "denied"]


def with_referral(polynomial: Polynomial, grey: int) -> Polynomial:
    """Return a polynomial of one output with a second one, greater by `grey`."""
    both = {monomial: np.repeat(values, 2) for monomial, values in polynomial.items()}
    both[ONE] = both.get(ONE, np.zeros(2, np.int64)) + np.array([0, grey])
    return {monomial: values for monomial, values in both.items() if values.any()}


def referred_rows(scores: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Return which rows of scores of `decide`, shape (rows, outputs), are referred.

    None for a program without a grey zone.
    """
    if scores.shape[1] == 1:
        return None
    return (scores[:, 0] < 0) & (scores[:, 1] >= 0)


def outcome_of(opened: Sequence[float]) -> Outcome:
    """Return the outcome of a decision from its opened values: scores, or 0 and -1 for signs.

    Raises OpeningFailed for values that no decision has.
    """
    signs = [value >= 0 for value in opened]
    if len(signs) not in (1, 2) or signs == [True, False]:
        raise OpeningFailed(
            "The opened decision is approved and below the grey zone at once: a share or a mask is "
            "wrong, or the server evaluated something else. Open a new application."
        )
    if signs[0]:
        return "approved"
    return "referred" if signs[-1] else "denied"
