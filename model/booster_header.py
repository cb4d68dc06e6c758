"""Parsing of a model file's parameters: whether it can be compiled, and which trees count.

If early stopping recorded a `best_iteration`, only the trees of iterations 0 to `best_iteration`
count, as in `XGBClassifier.predict`, although the file contains all trees.
Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ModelTooLarge, UnsupportedBooster

MAXIMUM_BYTES = 64 << 20
_SAVE = "save the booster with save_model('….json')"


@dataclass(frozen=True)
class Header:
    """The parameters of a binary logistic tree booster.

    `version` is that of the XGBoost that wrote the file, empty if the file does not contain it. The
    first `used` of the `trees` count; `iterations` is their number of boosting rounds, or None if
    all rounds count. `base_score` is a probability in single precision, as in XGBoost.
    """

    version: tuple[int, ...]
    features: int
    feature_names: tuple[str, ...]
    base_score: float
    trees: int
    used: int
    iterations: int | None

    @property
    def version_text(self) -> str:
        """The version as text: for example, `3.2.0`."""
        return ".".join(map(str, self.version)) or "of an unknown version"


def decode_booster(data: bytes) -> dict[str, Any]:
    """Decode a model file; raises UnsupportedBooster if it is not JSON, and ModelTooLarge."""
    if len(data) > MAXIMUM_BYTES:
        raise ModelTooLarge(f"The model file is larger than {MAXIMUM_BYTES >> 20} MiB.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnsupportedBooster(
            f"The model file is not XGBoost's JSON format ({str(error)[:200]}); {_SAVE}."
        ) from error
    if not isinstance(document, dict):
        raise UnsupportedBooster(f"The model file is not XGBoost's JSON format; {_SAVE}.")
    return document


def read_header(document: dict[str, Any]) -> Header:
    """Read the parameters of a decoded model file.

    Raises UnsupportedBooster unless it is a tree booster with one binary logistic output.
    """
    try:
        return _read(document)
    except KeyError as error:
        raise UnsupportedBooster(f"The model file lacks {error}; {_SAVE}.") from error
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        raise UnsupportedBooster(
            f"The model file has a parameter that cannot be read ({str(error)[:200]}); {_SAVE}."
        ) from error


def _read(document: dict[str, Any]) -> Header:
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    booster = learner["gradient_booster"]
    features = int(parameters["num_feature"])
    _check_kind(learner, parameters, booster)
    model = booster["model"]
    _check_outputs(parameters, model)
    trees = len(model["trees"])
    attributes = learner.get("attributes") or {}
    iterations, used = _used(attributes, model, trees)
    return Header(
        version=tuple(int(part) for part in document.get("version") or ()),
        features=features,
        feature_names=tuple(str(name) for name in learner.get("feature_names") or ()),
        base_score=_base_score(parameters["base_score"]),
        trees=trees,
        used=used,
        iterations=iterations,
    )


def _check_kind(
    learner: dict[str, Any], parameters: dict[str, Any], booster: dict[str, Any]
) -> None:
    kind, objective = booster["name"], learner["objective"]["name"]
    if kind == "gbtree" and any(float(w) != 1 for w in booster["model"].get("weight_drop") or ()):
        kind = "dart"  # XGBoost 3.4 saves it as a gbtree whose trees have weights
    classes = int(parameters.get("num_class", "0"))
    if kind == "gbtree" and objective == "binary:logistic" and classes <= 1:
        return
    raise UnsupportedBooster(
        f"Only a gbtree with objective binary:logistic can be compiled, not {kind} with {objective}"
        + (f", which is multi-class (num_class {classes})" if classes > 1 else "")
        + "; train with booster='gbtree' and objective='binary:logistic' on labels 0 and 1."
    )


def _check_outputs(parameters: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise UnsupportedBooster for several outputs, however the XGBoost version stores them."""
    targets = int(parameters.get("num_target", "1"))
    scores = len(_base_scores(parameters["base_score"]))
    leaf = max(
        (int(t.get("tree_param", {}).get("size_leaf_vector", "1")) for t in model["trees"]),
        default=1,
    )
    if targets > 1:
        found = f"num_target {targets}"
    elif leaf > 1:
        found = f"multi_output_tree, {leaf} values per leaf"
    elif scores > 1:
        found = f"a base_score for each of {scores} outputs"
    elif any(int(group) for group in model.get("tree_info", ())):
        found = "tree_info names several groups of trees"
    else:
        return
    raise UnsupportedBooster(
        f"The booster has several outputs ({found}), and only one decision can be compiled; train "
        "on a single column of labels."
    )


def _base_scores(value: Any) -> list[float]:
    """Parse a number, or one number per output, each form as JSON or as text."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = value.strip().removeprefix("[").removesuffix("]").split(",")
    if not isinstance(value, list):
        value = [value]
    try:
        return [float(score) for score in value]
    except (TypeError, ValueError) as error:
        raise UnsupportedBooster(
            f"base_score {str(value)[:80]} is not a number; {_SAVE} after training."
        ) from error


def _base_score(value: Any) -> float:
    scores = _base_scores(value)
    score = float(np.float32(scores[0])) if scores and abs(scores[0]) <= 1 else float("nan")
    if not 0 < score < 1:
        raise UnsupportedBooster(f"base_score {str(value)[:80]} is not a probability.")
    return score


def _used(attributes: dict[str, Any], model: dict[str, Any], trees: int) -> tuple[int | None, int]:
    """Return the numbers of boosting rounds and of trees with which XGBoost predicts."""
    # Absent before XGBoost 1.4, when only best_ntree_limit was recorded for a random forest.
    parallel = max(1, int(model.get("gbtree_model_param", {}).get("num_parallel_tree", "1")))
    if "best_iteration" in attributes:
        rounds = int(attributes["best_iteration"]) + 1
        starts = [int(start) for start in model.get("iteration_indptr") or ()]
        starts = starts or list(range(0, trees + 1, parallel))
        used = starts[rounds] if 1 <= rounds < len(starts) else 0
        stated = f"best_iteration {rounds - 1}"
    elif int(attributes.get("best_ntree_limit", "0")):
        used = int(attributes["best_ntree_limit"])
        rounds = used // parallel
        stated = f"best_ntree_limit {used}"
        used = used if used == rounds * parallel else 0
    else:
        return None, trees
    if not 1 <= used <= trees:
        raise UnsupportedBooster(
            f"The booster's {stated} does not match its {trees} trees, {parallel} per round; "
            f"{_SAVE} again, or cut it by booster[:rounds]."
        )
    return rounds, used
