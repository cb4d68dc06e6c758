"""Reading of a model file, whose format is found by its content."""

from __future__ import annotations

import json
from pathlib import Path

from model.booster_header import MAXIMUM_BYTES
from training.imported.ensemble import SourceModel
from training.imported.lightgbm_file import read_lightgbm_json, read_lightgbm_text
from training.imported.sklearn_file import read_sklearn
from training.imported.xgboost_file import read_xgboost
from utils.errors import ImportRefused, ModelTooLarge
from utils.regular_files import read_regular

_KINDS = (
    "XGBoost's save_model('model.json'), LightGBM's save_model('model.txt') or dump_model, or "
    "scikit-learn's classifier by skops.io.dump(classifier, 'model.skops')"
)
_UBJSON_MARKERS = b"LlUiIC[{#$"


def read_source(path: Path) -> tuple[SourceModel, bytes]:
    """Return the model in a file and the file's content.

    Raises ImportRefused, UnsupportedBooster for an XGBoost model of another kind, ModelTooLarge.
    """
    try:
        found = read_regular(path, MAXIMUM_BYTES + 1)
    except OSError as error:
        raise ImportRefused(
            f"{path} cannot be read ({error.strerror or error}); name a model file: {_KINDS}."
        ) from error
    if found is None:
        raise ImportRefused(f"{path} is not a file; name a model file: {_KINDS}.")
    if len(found[0]) > MAXIMUM_BYTES:
        raise ModelTooLarge(f"{path} is larger than {MAXIMUM_BYTES >> 20} MiB.")
    return parse_source(found[0]), found[0]


def parse_source(data: bytes) -> SourceModel:
    """Return the model in a file's content; raises the same errors as `read_source`."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data.startswith(b"PK\x03\x04"):
        return read_sklearn(data)
    if data.startswith(b"\x80") or data.startswith((b"\x1f\x8b", b"x\x9c")):
        raise ImportRefused(
            "The model file is a pickle or a joblib file. Opening one runs whatever code it "
            f"contains, so it is never opened here; save the model again: {_KINDS}."
        )
    if len(data) > 1 and data[:1] == b"{" and data[1] in _UBJSON_MARKERS and b"\0" in data[:16]:
        raise ImportRefused(
            "The model file is XGBoost's binary format (UBJSON); load it with XGBoost and save it "
            "again with save_model('model.json'), whose name ends with .json."
        )
    if start.startswith(b"tree"):
        return read_lightgbm_text(data.decode("utf-8-sig", "replace"))
    if not start.startswith((b"{", b"[")):
        raise ImportRefused(f"The model file has none of the known formats: {_KINDS}.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(
            f"The model file is not valid JSON ({str(error)[:200]}); save it again: {_KINDS}."
        ) from error
    if isinstance(document, dict) and "tree_info" in document:
        return read_lightgbm_json(document)
    if isinstance(document, dict) and "learner" in document:
        return read_xgboost(document)
    raise ImportRefused(
        "The JSON file is no model of XGBoost or LightGBM (XGBoost's dump_model has no base score "
        f"and cannot be used); save the model again: {_KINDS}."
    )
