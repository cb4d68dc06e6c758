"""Predictions of the installed XGBoost for a model file.

Every comparison with the float model uses this module, so that it has the trees that
`XGBClassifier.predict` uses, the base score that the file specifies, and treats zeros as missing if
the schema says so.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from features.encoding import Bits
from features.schema import Schema
from model.booster_header import decode_booster, read_header
from utils.errors import UnsupportedBooster

VERSION = str(xgboost.__version__)


class LibraryModel:
    """A model file loaded into the installed XGBoost.

    Raises UnsupportedBooster if the file cannot be compiled or this XGBoost cannot read it.
    """

    def __init__(self, data: bytes, schema: Schema) -> None:
        document = decode_booster(data)
        header = read_header(document)
        self._missing = 0.0 if schema.zero_is_missing else np.nan
        self._rounds = (0, header.iterations or 0)
        self._booster = xgboost.Booster({"nthread": 1})
        try:
            self._booster.load_model(bytearray(with_base_score(document, header.base_score)))
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise UnsupportedBooster(
                f"The booster was written by XGBoost {header.version_text}, and the installed "
                f"XGBoost {VERSION} cannot read it ({_first_line(error)}). Train or save it with "
                f"XGBoost {VERSION}, because an import is checked against the library."
            ) from error

    def log_odds(self, bits: Bits) -> NDArray[np.float64]:
        """Return the margins that `XGBClassifier.predict` compares with 0, shape (rows,)."""
        rows = xgboost.DMatrix(bits.astype(np.float32), missing=self._missing, nthread=1)
        try:
            margins = self._booster.predict(
                rows, output_margin=True, iteration_range=self._rounds, validate_features=False
            )
        except xgboost.core.XGBoostError as error:
            raise UnsupportedBooster(
                f"XGBoost {VERSION} cannot predict with the booster ({_first_line(error)}); save "
                "it again with save_model('….json')."
            ) from error
        return np.asarray(margins, np.float64)


def with_base_score(document: dict[str, Any], base_score: float) -> bytes:
    """Return a decoded model with a base score, as text that every version of XGBoost reads.

    XGBoost 1.6 silently reads other forms, for example the one-element list of versions from 3.1,
    as 0.5.
    """
    text = np.format_float_scientific(np.float32(base_score), trim="-", exp_digits=1)
    parameters = document["learner"]["learner_model_param"] | {"base_score": text}
    learner = document["learner"] | {"learner_model_param": parameters}
    return json.dumps(document | {"learner": learner}).encode()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
