"""The data sets that an institution has seen last, which indexes stand for."""

from __future__ import annotations

from dataclasses import dataclass

from parties.governance.views import DataSetView

Found = tuple[str, DataSetView]
"""A session's id, and a data set of its owner."""


@dataclass(frozen=True)
class Browsed:
    """The data sets of all owners, and the sessions whose owners did not respond."""

    found: tuple[Found, ...] = ()
    unreachable: tuple[str, ...] = ()
