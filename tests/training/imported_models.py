"""Small models of every source on invented rows, for the tests of training/imported."""

from __future__ import annotations

from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import skops.io
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from features.schema import Schema

JOBS = ["clerk", "farmer", "nurse", "smith", "tailor"]
SCHEMA: dict[str, Any] = {
    "name": "invented",
    "title": "Invented",
    "parties": [
        {
            "name": "applicant",
            "label": "Applicant",
            "columns": [
                {"name": "Age", "kind": "ordinal", "label": "Age", "minimum": 18, "maximum": 90,
                 "integer": True},
                {"name": "Job", "kind": "categorical", "label": "Job", "values": JOBS,
                 "optional": True},
                {"name": "Owner", "kind": "boolean", "label": "Owner"},
            ],
        },
        {
            "name": "bank",
            "label": "Bank",
            "columns": [
                {"name": "Income", "kind": "ordinal", "label": "Income", "minimum": 0,
                 "maximum": 200_000, "optional": True, "source": "monthly income"},
                {"name": "Balance", "kind": "ordinal", "label": "Balance", "minimum": -50,
                 "maximum": 50, "clip": True},
            ],
        },
    ],
    "decision": {"target": "Bad", "approved_value": 0},
}  # fmt: skip
HEADERS = ["Age", "Job", "Owner", "monthly income", "Balance"]


@cache
def rows(count: int = 600, seed: int = 5) -> tuple[pd.DataFrame, np.ndarray]:
    """Return invented rows, by the headers of files, and labels with 1 for bad."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Age": generator.integers(18, 91, count).astype(float),
            "Job": pd.Categorical(generator.choice(JOBS, count), JOBS),
            "Owner": generator.integers(0, 2, count).astype(float),
            "monthly income": np.round(generator.lognormal(8, 1, count), 2).clip(0, 200_000),
            "Balance": generator.choice([0, 0, 0, 1.5, -2.5, 10.1, -7.3], count),
        }
    )
    for name in ("Job", "monthly income"):
        frame.loc[generator.random(count) < 0.12, name] = None
    good = (
        (frame["Age"] > 40).astype(int)
        + (frame["monthly income"].fillna(0) > 3000)
        + 2 * frame["Job"].isin(["farmer", "tailor"])
        + (frame["Balance"] > 0)
        + frame["Owner"]
    )
    return frame, (good + generator.normal(0, 0.8, count) < 2.3).astype(int).to_numpy()


def by_name(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the names of the schema's columns, and texts instead of categories."""
    named = frame.rename(columns={"monthly income": "Income"})
    job = named["Job"].astype(object)
    return named.assign(Job=job.where(job.notna(), None), Owner=named["Owner"] == 1)


def as_given(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the schema's columns as the libraries are given them."""
    return pd.DataFrame(
        {
            "Age": frame["Age"].astype(float),
            "Job": pd.Categorical(frame["Job"], JOBS),
            "Owner": frame["Owner"].astype(float),
            "monthly income": pd.to_numeric(frame["Income"]).astype(float),
            "Balance": frame["Balance"].astype(float),
        }
    )


def schema(**changes: Any) -> Schema:
    """Return the schema of the rows; its columns get one cut, which every import replaces."""
    document = {**SCHEMA, **changes}
    for party in document["parties"]:
        for column in party["columns"]:
            if column["kind"] == "ordinal":
                column.setdefault("cuts", [column["maximum"]])
    return Schema.parse(document)


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return the columns that GradientBoosting accepts: no missing values, categories as 0 or 1."""
    jobs = {f"Job_{job}": (frame["Job"] == job).astype(float) for job in JOBS}
    return pd.DataFrame({name: frame[name] for name in ("Age", "Owner", "Balance")} | jobs)


@cache
def trained(source: str):
    """Return a model file and a function from rows, as `as_given` makes them, to log-odds."""
    frame, bad = rows()
    if source.startswith("xgboost"):
        settings = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "learning_rate": 0.6}
        if source == "xgboost one-hot":
            settings["max_cat_to_onehot"] = 20
        else:
            settings["max_cat_to_onehot"] = 1
        model = xgboost.XGBClassifier(enable_categorical=True, **settings).fit(frame, bad)
        content = bytes(model.get_booster().save_raw("json"))
        return content, lambda given: model.predict(given, output_margin=True)
    if source.startswith("lightgbm"):
        settings = {"n_estimators": 8, "max_depth": 3, "num_threads": 1, "verbose": -1}
        settings |= {"min_data_per_group": 5, "cat_smooth": 1, "learning_rate": 0.5}
        settings |= {"zero_as_missing": "zero" in source, "use_missing": "none" not in source}
        model = lightgbm.LGBMClassifier(**settings).fit(
            frame.rename(columns={"monthly income": "monthly_income"}), bad
        )
        if source.endswith("json"):
            import json

            content = json.dumps(model.booster_.dump_model()).encode()
        else:
            content = model.booster_.model_to_string().encode()
        return content, lambda given: model.predict(
            given.rename(columns={"monthly income": "monthly_income"}), raw_score=True
        )
    if source == "histogram":
        model = HistGradientBoostingClassifier(
            max_iter=8, max_depth=3, categorical_features="from_dtype", learning_rate=0.5
        )
        with threadpool_limits(1):  # threads only wait for each other on so few rows
            model.fit(frame, bad)

        def predict(given):
            with threadpool_limits(1):
                return model.decision_function(given)

        return skops.io.dumps(model), predict
    model = GradientBoostingClassifier(n_estimators=8, max_depth=3, learning_rate=0.5)
    model.fit(_numbers(frame), bad)
    return skops.io.dumps(model), lambda given: model.decision_function(_numbers(given))


SOURCES = [
    *("xgboost", "xgboost one-hot", "lightgbm text", "lightgbm json", "lightgbm zero"),
    *("lightgbm none", "histogram", "classic"),
]
