"""scikit-learn's gradient boosting classifiers in the format of skops, without pickle.

A file is opened only if each of its types is on a list of those that these two estimators consist
of. The estimator is then read by its attributes and never run: arrays of a damaged file could make
scikit-learn's compiled code read outside of them.

HistGradientBoostingClassifier sends `x <= threshold` to the left, in double precision, and reorders
its columns, with the categorical ones first. GradientBoostingClassifier converts x to single
precision first, and accepts no missing values.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zlib
from collections.abc import Iterator
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from training.imported.ensemble import (
    CategorySplit,
    Feature,
    Node,
    NumericSplit,
    SourceModel,
    Split,
    TreeBuilder,
    codes_of_words,
    require_features,
)
from utils.errors import ImportRefused, ModelTooLarge

MAXIMUM_UNPACKED = 256 << 20
MAXIMUM_LISTING = 64 << 20
_MOST_FILES = 10_000
_ALLOWED_TYPES = frozenset(
    {
        "functools.partial",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.dummy.DummyClassifier",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.preprocessing._encoders.OrdinalEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        "sklearn.preprocessing._label.LabelEncoder",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
        "sklearn.utils._bunch.Bunch",
    }
)
_ALLOWED_PARTS = frozenset(
    {
        *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "slice", "str")),
        *("builtins.tuple", "builtins.type", "numpy.ndarray", "numpy.dtype"),
        *(f"numpy.{name}{size}" for name in ("int", "uint", "float") for size in (16, 32, 64)),
        *("numpy.bool", "numpy.bool_", "numpy.int8", "numpy.uint8"),
        *("numpy.random._generator.Generator", "numpy.random.mtrand.RandomState"),
    }
)
_ALLOWED_LOADERS = frozenset(
    {
        *("CachedNode", "DTypeNode", "DictNode", "FunctionNode", "JsonNode", "ListNode"),
        *("LossNode", "NdArrayNode", "ObjectNode", "PartialNode", "RandomGeneratorNode"),
        *("RandomStateNode", "SliceNode", "TreeNode", "TupleNode", "TypeNode"),
    }
)
_SAVE = "save the fitted classifier alone, with skops.io.dump(classifier, 'model.skops')"


def read_sklearn(data: bytes) -> SourceModel:
    """Return the model of a skops file; raises ImportRefused, ModelTooLarge."""
    try:
        model = _opened(data)
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        if kind.endswith(".HistGradientBoostingClassifier"):
            return _histogram(model)
        if kind.endswith(".GradientBoostingClassifier"):
            return _classic(model)
    except (BadZipFile, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ImportRefused(
            f"The skops file has a part that cannot be read ({str(error)[:200]}); {_SAVE}, with "
            "the scikit-learn that reads it here."
        ) from error
    # RuntimeError: nested too deeply, or encrypted; ArithmeticError: a number out of its range.
    except (ArithmeticError, RuntimeError, EOFError, zlib.error) as error:
        raise ImportRefused(f"The skops file is damaged; {_SAVE}.") from error
    except MemoryError as error:  # an array of any size may be stated in a few bytes
        raise ModelTooLarge(
            "The skops file states arrays that do not fit in memory; train fewer trees."
        ) from error
    raise ImportRefused(
        "The skops file has no HistGradientBoostingClassifier or GradientBoostingClassifier; "
        f"{_SAVE}."
    )


def _opened(data: bytes) -> Any:
    """Return the estimator of a file whose types are all allowed; raises ImportRefused."""
    with ZipFile(io.BytesIO(data)) as archive:
        sizes = [entry.file_size for entry in archive.infolist()]
        if sum(sizes) > MAXIMUM_UNPACKED or len(sizes) > _MOST_FILES:
            raise ModelTooLarge(
                f"The skops file unpacks to more than {MAXIMUM_UNPACKED >> 20} MiB or "
                f"{_MOST_FILES} files; train fewer trees."
            )
        if archive.getinfo("schema.json").file_size > MAXIMUM_LISTING:
            raise ModelTooLarge(
                f"The list of parts in the skops file is larger than {MAXIMUM_LISTING >> 20} MiB; "
                "train fewer trees."
            )
        listing = json.loads(archive.read("schema.json"))
    refused = sorted({name for name in _types(listing) if not _allowed(name)})
    if not refused:
        from skops import io as skops_io  # reads the list of types before it makes any object

        refused = sorted(set(skops_io.get_untrusted_types(data=data)) - _ALLOWED_TYPES)
    if refused:
        raise ImportRefused(
            f"The skops file contains {refused[0][:120]}, which is not a part of a "
            f"HistGradientBoostingClassifier or GradientBoostingClassifier. Nothing of it was "
            f"loaded; {_SAVE}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another version of scikit-learn; checked by attributes
        return skops_io.loads(data, trusted=sorted(_ALLOWED_TYPES))


def _types(listing: Any) -> Iterator[str]:
    """Iterate over the types and the loaders that a file's listing names."""
    waiting = [listing]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "__loader__" in part:
                yield f"loader {part['__loader__']}"
                yield f"{part.get('__module__')}.{part.get('__class__')}"
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _allowed(name: str) -> bool:
    if name.startswith("loader "):
        return name.removeprefix("loader ") in _ALLOWED_LOADERS
    return name in _ALLOWED_TYPES | _ALLOWED_PARTS


def _labels(classes: Any) -> tuple[str, str]:
    if len(classes) != 2:
        raise ImportRefused("The classifier has more than two classes; train it on two labels.")
    return str(classes[0]), str(classes[1])


def _version(model: Any) -> str:
    name = type(model).__name__
    return f"scikit-learn {name}"


def _names(model: Any) -> tuple[list[str], bool]:
    names = getattr(model, "feature_names_in_", None)
    require_features(int(model.n_features_in_))
    if names is None:
        return [f"x{i}" for i in range(int(model.n_features_in_))], False
    return [str(name) for name in names], True


# HistGradientBoostingClassifier


def _histogram(model: Any) -> SourceModel:
    if int(model.n_trees_per_iteration_) != 1:
        raise ImportRefused("The classifier has more than two classes; train it on two labels.")
    names, named = _names(model)
    flags = model.is_categorical_
    categorical = [bool(flag) for flag in flags] if flags is not None else [False] * len(names)
    order = [i for i, flag in enumerate(categorical) if flag]
    order += [i for i, flag in enumerate(categorical) if not flag]
    categories = _encoded_categories(model) if any(categorical) else []
    texts = dict(zip(order, categories, strict=False))
    features = tuple(
        Feature(name, categorical[i], texts.get(i) if categorical[i] else None)
        for i, name in enumerate(names)
    )
    builder = TreeBuilder(len(names))
    trees = tuple(
        _histogram_tree(predictors[0], order, builder) for predictors in model._predictors
    )
    base = float(np.asarray(model._baseline_prediction).ravel()[0])
    return SourceModel(
        _version(model), features, named, trees, base, labels=_labels(model.classes_)
    )


def _encoded_categories(model: Any) -> list[tuple[str, ...]]:
    """Return the texts of the codes of each categorical column, in the order of the columns."""
    if getattr(model, "_preprocessor", None) is None:
        raise ImportRefused(
            "The classifier was saved by a scikit-learn older than 1.4, which does not store its "
            "categories; train it with a newer one."
        )
    encoder = next(own for name, own, _ in model._preprocessor.transformers_ if name == "encoder")
    return [tuple(_text(value) for value in values) for values in encoder.categories_]


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _histogram_tree(predictor: Any, order: list[int], builder: TreeBuilder) -> Node:
    nodes, bit_sets = predictor.nodes, predictor.raw_left_cat_bitsets
    columns = {name: nodes[name].tolist() for name in nodes.dtype.names}

    def leaf(node: int) -> float | None:
        return float(columns["value"][node]) if columns["is_leaf"][node] else None

    def inner(node: int) -> tuple[Split, int, int]:
        place = int(columns["feature_idx"][node])
        feature = order[place] if place >= 0 else place
        missing_left = bool(columns["missing_go_to_left"][node])
        split: Split
        if columns["is_categorical"][node]:
            words = [int(word) for word in bit_sets[int(columns["bitset_idx"][node])]]
            split = CategorySplit(feature, codes_of_words(words), True, missing_left)
        else:
            limit = float(columns["num_threshold"][node])
            split = NumericSplit(feature, limit, True, False, missing_left)
        return split, int(columns["left"][node]), int(columns["right"][node])

    return builder.tree(0, leaf, inner)


# GradientBoostingClassifier


def _classic(model: Any) -> SourceModel:
    if model.loss != "log_loss":
        raise ImportRefused(
            f"The classifier has loss {str(model.loss)[:40]}; train it with loss='log_loss'."
        )
    labels = _labels(model.classes_)
    names, named = _names(model)
    builder = TreeBuilder(len(names))
    rate = float(model.learning_rate)
    trees = tuple(_classic_tree(stage[0].tree_, rate, builder) for stage in model.estimators_)
    features = tuple(Feature(name) for name in names)
    return SourceModel(
        _version(model), features, named, trees, _initial(model), False, labels=labels
    )


def _initial(model: Any) -> float:
    """Return the log-odds with which the boosting began."""
    if type(model.init_).__name__ == "str" or model.init == "zero":
        return 0.0
    if type(model.init_).__name__ != "DummyClassifier" or model.init_.strategy != "prior":
        raise ImportRefused(
            "The classifier begins with a model of its own (init); train it with init=None."
        )
    prior = float(model.init_.class_prior_[1])
    return math.log(prior / (1 - prior))


def _classic_tree(tree: Any, rate: float, builder: TreeBuilder) -> Node:
    left, right = tree.children_left.tolist(), tree.children_right.tolist()
    features, limits = tree.feature.tolist(), tree.threshold.tolist()
    values = tree.value[:, 0, 0].tolist()

    def leaf(node: int) -> float | None:
        if node < 0:
            raise ValueError("a child is missing")
        return rate * float(values[node]) if left[node] == -1 else None

    def inner(node: int) -> tuple[Split, int, int]:
        split = NumericSplit(int(features[node]), float(limits[node]), True, True, False)
        return split, left[node], right[node]

    return builder.tree(0, leaf, inner)
