"""LightGBM models: the text of `save_model` and the JSON of `dump_model`.

At a numeric split `x <= threshold` goes to the left. A missing value goes in the default direction
if the split's missing type is NaN, is 0 if it is None, and with the type Zero each 0 is missing. At
a categorical split the listed categories go to the left, and all else to the right.
Source: https://lightgbm.readthedocs.io/en/stable/Advanced-Topics.html and include/LightGBM/tree.h.
"""

from __future__ import annotations

import json
import re
from typing import Any

from training.imported.ensemble import (
    CategorySplit,
    Feature,
    Node,
    NumericSplit,
    SourceModel,
    Split,
    TreeBuilder,
    codes_of_words,
)
from utils.errors import ImportRefused

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_TYPES = ("None", "Zero", "NaN")
_READ_VERSIONS = ("v3", "v4")


def read_lightgbm_text(text: str) -> SourceModel:
    """Return the model of a text file; raises ImportRefused, ModelTooLarge."""
    return _guarded(_read_text, text)


def read_lightgbm_json(document: dict[str, Any]) -> SourceModel:
    """Return the model of a decoded JSON dump; raises ImportRefused, ModelTooLarge."""
    return _guarded(_read_json, document)


def _guarded(read: Any, content: Any) -> SourceModel:
    try:
        result: SourceModel = read(content)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ImportRefused(
            f"The LightGBM model file has a part that cannot be read ({str(error)[:200]}); save it "
            "again with Booster.save_model('model.txt')."
        ) from error
    except RecursionError as error:
        raise ImportRefused(
            "The LightGBM model file is nested too deeply; save it again with "
            "Booster.save_model('model.txt')."
        ) from error
    return result


def _check_kind(version: str, objective: str, classes: int, per_iteration: int, mean: bool) -> None:
    if version not in _READ_VERSIONS:
        raise ImportRefused(
            f"The LightGBM model has format {version[:20]}; load it in LightGBM 3 or later and "
            "save it again with Booster.save_model('model.txt')."
        )
    words = objective.split()
    if classes != 1 or per_iteration != 1 or words[:1] != ["binary"]:
        raise ImportRefused(
            f"Only LightGBM's objective binary can be imported, not {objective[:60] or 'none'}; "
            "train with objective='binary' on labels 0 and 1."
        )
    sigmoid = [float(word.partition(":")[2]) for word in words if word.startswith("sigmoid:")]
    if any(value != 1 for value in sigmoid):
        raise ImportRefused("The LightGBM model has a sigmoid other than 1; train with sigmoid=1.")
    if mean:
        raise ImportRefused(
            "The LightGBM model averages its trees (boosting rf); train with boosting='gbdt'."
        )


def _features(
    names: list[str], categorical: set[int], listed: list[list[Any]] | None
) -> tuple[Feature, ...]:
    """Return the features; `listed` has the categories of each pandas column of categories."""
    order = sorted(categorical)
    if listed and len(listed) != len(order):
        raise ImportRefused(
            f"The LightGBM model has {len(order)} categorical features, but lists the categories "
            f"of {len(listed)} columns, so that they cannot be told apart. Train on a data frame "
            "whose columns of categories are not ordered and have more than one value each."
        )
    texts = {
        i: tuple(str(value) for value in values)
        for i, values in zip(order, listed or (), strict=False)
    }
    return tuple(Feature(name, i in categorical, texts.get(i)) for i, name in enumerate(names))


def _numeric(feature: int, limit: float, left: bool, missing: str) -> NumericSplit:
    if missing not in _MISSING_TYPES:
        raise ValueError(f"missing type {missing[:20]}")
    return NumericSplit(
        feature, limit, True, False, left, missing == "None", zero_missing=missing == "Zero"
    )


def _named(names: list[str]) -> bool:
    return not all(re.fullmatch(r"Column_\d+", name) for name in names)


# Text


def _read_text(text: str) -> SourceModel:
    head, *blocks = re.split(r"^Tree=\d+\s*$", text, flags=re.MULTILINE)
    header = _fields(head)
    lines = head.split()
    _check_kind(
        header["version"],
        header.get("objective", ""),
        int(header["num_class"]),
        int(header["num_tree_per_iteration"]),
        "average_output" in lines,
    )
    names = header["feature_names"].split(" ")
    infos = header["feature_infos"].split(" ")
    if len(names) != len(infos) or len(names) != int(header["max_feature_idx"]) + 1:
        raise ValueError("feature_names and feature_infos differ in length")
    blocks, tail = _tail(blocks)
    categorical = {i for i, info in enumerate(infos) if info != "none" and info[0] != "["}
    stated = re.search(r"^\[categorical_feature: ([\d,]*)\]", tail, re.MULTILINE)
    if stated:
        categorical |= {int(part) for part in stated[1].split(",") if part}
    listed = re.search(r"^pandas_categorical:(.*)$", tail, re.MULTILINE)
    builder = TreeBuilder(len(names))
    return SourceModel(
        f"LightGBM, format {header['version']}",
        _features(names, categorical, json.loads(listed[1]) if listed else None),
        _named(names),
        tuple(_text_tree(_fields(block), builder) for block in blocks),
        0.0,
    )


def _tail(blocks: list[str]) -> tuple[list[str], str]:
    """Return the trees, and the parameters that follow the last one."""
    if not blocks or "end of trees" not in blocks[-1]:
        raise ValueError("its end is missing")
    last, _, tail = blocks[-1].partition("end of trees")
    return [*blocks[:-1], last], tail


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _text_tree(fields: dict[str, str], builder: TreeBuilder) -> Node:
    if int(fields.get("is_linear", "0")):
        raise ImportRefused("The LightGBM model has linear trees; train it with linear_tree=False.")
    leaves = [float(value) for value in fields["leaf_value"].split()]
    if int(fields["num_leaves"]) <= 1:
        return builder.tree(0, lambda _: leaves[0], _no_split)
    features, kinds, left, right = (
        [int(value) for value in fields[key].split()]
        for key in ("split_feature", "decision_type", "left_child", "right_child")
    )
    limits = [float(value) for value in fields["threshold"].split()]
    starts = [int(value) for value in fields.get("cat_boundaries", "").split()]
    words = [int(value) for value in fields.get("cat_threshold", "").split()]
    if starts != sorted(starts) or any(start < 0 for start in starts[:1]):
        raise ValueError("cat_boundaries does not rise")

    def leaf(node: int) -> float | None:
        return leaves[~node] if node < 0 else None  # a leaf has the complement of its number

    def inner(node: int) -> tuple[Split, int, int]:
        kind, split = kinds[node], None
        if kind & _CATEGORICAL:
            place = int(limits[node])
            if not 0 <= place < len(starts) - 1:
                raise ValueError("cat_boundaries is too short")
            codes = codes_of_words(words[starts[place] : starts[place + 1]])
            split = CategorySplit(features[node], codes, True, False)
            return split, left[node], right[node]
        missing = _MISSING_TYPES[kind >> 2 & 3]
        numeric = _numeric(features[node], limits[node], bool(kind & _DEFAULT_LEFT), missing)
        return numeric, left[node], right[node]

    return builder.tree(0, leaf, inner)


def _no_split(node: int) -> tuple[Split, int, int]:
    raise ValueError(f"node {node} has no split")


# JSON


def _read_json(document: dict[str, Any]) -> SourceModel:
    version = str(document["version"])
    _check_kind(
        version,
        str(document.get("objective", "")),
        int(document["num_class"]),
        int(document["num_tree_per_iteration"]),
        bool(document.get("average_output")),
    )
    names = [str(name) for name in document["feature_names"]]
    infos = document.get("feature_infos") or {}
    trees = [tree["tree_structure"] for tree in document["tree_info"]]
    split_on = {feature for tree in trees for feature in _categorical_of(tree)}
    categorical = {i for i, name in enumerate(names) if (infos.get(name) or {}).get("values")}
    builder = TreeBuilder(len(names))
    return SourceModel(
        f"LightGBM, format {version}",
        _features(names, categorical | split_on, document.get("pandas_categorical")),
        _named(names),
        tuple(_json_tree(tree, builder) for tree in trees),
        0.0,
    )


def _categorical_of(tree: dict[str, Any]) -> set[int]:
    found, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if "split_feature" in node:
            if node["decision_type"] == "==":
                found.add(int(node["split_feature"]))
            waiting += [node["left_child"], node["right_child"]]
    return found


def _json_tree(root: dict[str, Any], builder: TreeBuilder) -> Node:
    nodes = [root]  # numbered as they are reached

    def leaf(number: int) -> float | None:
        node = nodes[number]
        if "leaf_const" in node:
            raise ImportRefused(
                "The LightGBM model has linear trees; train it with linear_tree=False."
            )
        return float(node["leaf_value"]) if "split_feature" not in node else None

    def inner(number: int) -> tuple[Split, int, int]:
        node = nodes[number]
        feature, kind = int(node["split_feature"]), node["decision_type"]
        split: Split
        if kind == "==":
            codes = frozenset(int(code) for code in str(node["threshold"]).split("||"))
            split = CategorySplit(feature, codes, True, False)
        elif kind == "<=":
            split = _numeric(
                feature, float(node["threshold"]), bool(node["default_left"]), node["missing_type"]
            )
        else:
            raise ValueError(f"decision type {str(kind)[:20]}")
        nodes.extend((node["left_child"], node["right_child"]))
        return split, len(nodes) - 2, len(nodes) - 1

    return builder.tree(0, leaf, inner)
