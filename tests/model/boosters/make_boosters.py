"""Make the boosters in this folder: `python make_boosters.py`, once for each version of XGBoost.

The script needs an environment with XGBoost, scikit-learn and pandas, but no other file. It writes
a folder named after the version, with a model file for each kind and `margins.json`: the log-odds
that `XGBClassifier.predict` of that version gives for all 128 rows of seven bits, for the kinds
that can be compiled. The seven bits are those of the schema in `schema.json`.
"""

from utils.command_line import CommandParser, run_command

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
import xgboost
from xgboost import XGBClassifier

FOLDER = Path(__file__).resolve().parent
ALL_ROWS = np.array(list(itertools.product([0, 1], repeat=7)), np.float32)


def examples(seed):
    """Return rows of bits and noisy labels of both classes."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (400, 7)).astype(np.float32)
    wish = bits @ [1.5, -1, 0.5, 0, 2, -0.5, 1] - 1.2 + bits[:, 0] * bits[:, 3]
    return bits, (wish + generator.normal(0, 1.5, 400) > 0).astype(int)


BITS, LABELS = examples(1)
CHECK = [examples(2)]


def classifier(trees=6, **more):
    settings = {"max_depth": 3, "tree_method": "hist", "n_jobs": 1, "random_state": 0}
    return XGBClassifier(n_estimators=trees, **settings | more)


def early_stopped(**more):
    """Return a classifier that grows rounds beyond the best one, by a high learning rate."""
    settings = {"learning_rate": 1.0, "early_stopping_rounds": 4, "eval_metric": "logloss"}
    return classifier(40, **settings | more).fit(BITS, LABELS, eval_set=CHECK, verbose=False)


def compiled_kinds():
    sparse = scipy.sparse.csr_matrix(BITS)
    forest = {"num_parallel_tree": 3, "subsample": 0.6, "colsample_bynode": 0.7}
    return {
        "plain": classifier().fit(BITS, LABELS),
        "exact": classifier(tree_method="exact").fit(BITS, LABELS),
        "base_score": classifier(base_score=0.8, scale_pos_weight=2.0).fit(BITS, LABELS),
        "early_stopped": early_stopped(),
        "forest": classifier(3, **forest).fit(BITS, LABELS),
        "early_stopped_forest": early_stopped(**forest),
        "sparse": classifier().fit(sparse, LABELS),
        "sparse_exact": classifier(tree_method="exact").fit(sparse, LABELS),
    }


def refused_kinds():
    classes = LABELS + BITS[:, 2].astype(int)
    several = np.stack([LABELS, BITS[:, 2].astype(int)], axis=1)
    frame = pd.DataFrame(BITS).astype(int).astype("category")
    kinds = {
        "multi_class": classifier(2).fit(BITS, classes),
        "two_classes_softprob": xgboost.train(
            {"objective": "multi:softprob", "num_class": 2, "max_depth": 2},
            xgboost.DMatrix(BITS, LABELS),
            2,
        ),
        "several_outputs": classifier(2).fit(BITS, several),
        "dart": classifier(booster="dart", rate_drop=0.5).fit(BITS, LABELS),
        "linear": XGBClassifier(n_estimators=2, booster="gblinear", n_jobs=1).fit(BITS, LABELS),
        "regression": classifier(2, objective="reg:squarederror").fit(BITS, LABELS),
        "categories": classifier(
            2, tree_method="approx", enable_categorical=True, max_cat_to_onehot=1
        ).fit(frame, LABELS),
    }
    if int(xgboost.__version__.split(".")[0]) >= 2:
        kinds["several_outputs_a_tree"] = classifier(2, multi_strategy="multi_output_tree").fit(
            BITS, several
        )
    return kinds


def main():
    CommandParser(description=__doc__).parse_args()
    folder = FOLDER / xgboost.__version__
    folder.mkdir(exist_ok=True)
    margins = {}
    for name, model in (compiled := compiled_kinds()).items():
        rows = scipy.sparse.csr_matrix(ALL_ROWS) if name.startswith("sparse") else ALL_ROWS
        margins[name] = [float(m) for m in model.predict(rows, output_margin=True)]
    for name, model in (compiled | refused_kinds()).items():
        booster = model.get_booster() if isinstance(model, XGBClassifier) else model
        booster.save_model(folder / f"{name}.json")
    (folder / "margins.json").write_text(json.dumps(margins) + "\n")


if __name__ == "__main__":
    run_command(main)
