"""Missing values of records and of data frames."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np


def is_missing_value(value: Any) -> bool:
    """Return True for None, NaN, pandas' NA and blank text."""
    pandas = sys.modules.get("pandas")  # loaded if there is a value of its types
    return (
        value is None
        or (pandas is not None and value is pandas.NA)
        or (isinstance(value, float | np.floating) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )
