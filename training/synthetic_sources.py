"""The source of synthetic rows of each schema, by the schema's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from training import synthetic, synthetic_german


class Source(NamedTuple):
    """`draw(rows, seed)` returns a frame with the schema's columns and its target."""

    file: str
    draw: Callable[[int, int], pd.DataFrame]


_CREDIT_CARD = Source("training/synthetic.py", synthetic.draw)
_BY_SCHEMA = {"german_credit": Source("training/synthetic_german.py", synthetic_german.draw)}


def synthetic_source(schema: str) -> Source:
    """Return the source for a schema; the credit card applicants for one that has no own source.

    Schemas with some of the columns of the default one are trained on its rows.
    """
    return _BY_SCHEMA.get(schema, _CREDIT_CARD)
