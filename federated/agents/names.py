"""The names of lenders, checked before a training is hosted or joined under them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from contract.trainings import COORDINATOR, MEMBER_PATTERN, MOST_MEMBERS
from federated.aggregation.group import LEAST_LENDERS
from utils.errors import InvalidRequest


def require_name(name: str) -> None:
    """Raise InvalidRequest unless a lender may have this name."""
    if not re.fullmatch(MEMBER_PATTERN, name) or name == COORDINATOR:
        raise InvalidRequest(
            f"{name[:64]!r} cannot be a lender's name: choose up to 32 lower-case letters, digits "
            f"and _ that begin with a letter, other than {COORDINATOR!r}."
        )


def require_lenders(names: Sequence[str]) -> None:
    """Raise InvalidRequest unless a training may have the lenders of these names."""
    for name in names:
        require_name(name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequest(f"{', '.join(twice)}: named twice; give every lender another name.")
    if not LEAST_LENDERS <= len(names) <= MOST_MEMBERS:
        raise InvalidRequest(
            f"A training needs {LEAST_LENDERS} to {MOST_MEMBERS} lenders, so that no sum is that "
            f"of one lender; {len(names)} are named."
        )
