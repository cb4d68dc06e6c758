"""Proof that training reads the same file by the drafted schema, and the bits of its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from training.data import training_frame
from training.draft.drafting import Draft, Options
from utils.errors import TrainingDataInvalid


def accepted_bits(
    path: Path, draft: Draft, options: Options, layout: Layout, rows: NDArray[np.int64]
) -> Bits:
    """Read the file as training does, which checks every value; returns the bits of some `rows`.

    Raises TrainingDataInvalid if training would not read it, or would read other outcomes.
    """
    frame, y = training_frame(
        draft.schema, [path], options.target, 0, 0, reference=options.reference
    )
    if not np.array_equal(y == 1, draft.outcome.approved):
        raise TrainingDataInvalid(
            f"Training would read other labels from {path} than the draft; set "
            "decision.approved_value yourself."
        )
    names = [column.name for column in draft.schema.columns()]
    return layout.encode_frame(frame[names].iloc[rows])
