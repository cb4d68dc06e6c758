"""The columns of a schema as the features of a model that was trained elsewhere.

Features are found by the header or the name of their column, or by their order if the file has no
names. A column of categories may also be spread over several features called COLUMN_VALUE, each 1
for its category, as `pandas.get_dummies` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.cells import FALSE_WORDS, TRUE_WORDS
from features.schema import BooleanColumn, CategoricalColumn, Column, OrdinalColumn, Schema
from training.imported.ensemble import Feature, SourceModel, Values
from utils.errors import ImportRefused
from utils.strict_csv import listed

NAN = float("nan")


@dataclass(frozen=True)
class Binding:
    """The column behind a feature.

    `numbers` maps the column's values, and the texts that count as them, to the numbers that the
    model is given; None for an ordinal column, which is given as it is. `missing` is given for a
    missing value and `unlisted` for any other text.
    """

    column: Column
    numbers: Mapping[Any, float] | None
    missing: float = NAN
    unlisted: float = NAN

    def given(self, value: Any) -> tuple[float, ...]:
        """Return the numbers of a value of the column and of the texts that count as it."""
        numbers = self.numbers or {}
        texts = [value]
        if isinstance(self.column, CategoricalColumn):
            texts += self.column.groups.get(value, [])
        found = dict.fromkeys(numbers[text] for text in texts if text in numbers)
        return tuple(found) or (self.unlisted,)

    def raw(self, values: pd.Series) -> Values:
        """Return the numbers that the model is given for the values of the column."""
        if self.numbers is None:
            return np.asarray(pd.to_numeric(values), np.float64)
        positions, distinct = pd.factorize(values, use_na_sentinel=False)
        numbers = [
            self.missing if pd.isna(value) else self.given(_plain(value))[0] for value in distinct
        ]
        return np.array(numbers, np.float64)[positions]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def raw_rows(frame: pd.DataFrame, bindings: Mapping[int, Binding], features: int) -> Values:
    """Return rows of a schema's columns as the model's features: shape (rows, features).

    Features that no split uses are missing.
    """
    rows = np.full((len(frame), features), NAN)
    for feature, binding in bindings.items():
        rows[:, feature] = binding.raw(frame[binding.column.name])
    return rows


def bind(model: SourceModel, schema: Schema, notes: list[str]) -> dict[int, Binding]:
    """Return the column of each feature that a split uses, by the feature's number.

    Appends sentences for a person to `notes`. Raises ImportRefused if a feature has no column, or
    is not of its column's kind.
    """
    used = sorted({split.feature for split in model.splits()})
    columns = list(schema.columns())
    if not model.named:
        return _bind_by_order(model, columns, used, notes)
    bindings, absent = {}, []
    for number in used:
        feature = model.features[number]
        bound = _bind_by_name(feature, columns, notes)
        if bound is None:
            absent.append(feature.name)
        else:
            bindings[number] = bound
    if absent:
        raise ImportRefused(
            f"The schema has no column for the model's {listed(absent, 8)}; its columns are "
            f"{listed([column.header for column in columns], 40)}. Give each feature a column "
            "with this name, or with this `source`."
        )
    _require_accepted(model, bindings)
    return bindings


def _bind_by_order(
    model: SourceModel, columns: list[Column], used: list[int], notes: list[str]
) -> dict[int, Binding]:
    if len(model.features) != len(columns):
        raise ImportRefused(
            f"The model file names no features and has {len(model.features)} of them, but the "
            f"schema has {len(columns)} columns. Give the schema the model's columns in their "
            "order, or train on a data frame, so that the file has their names."
        )
    notes.append("The model file names no features: they are the schema's columns in their order.")
    bindings = {n: _binding(model.features[n], columns[n], notes) for n in used}
    _require_accepted(model, bindings)
    return bindings


def _require_accepted(model: SourceModel, bindings: Mapping[int, Binding]) -> None:
    names = [b.column.name for b in bindings.values() if b.column.optional and b.missing != 0]
    if names and not model.accepts_missing:
        raise ImportRefused(
            f"{listed(sorted(set(names)), 8)} may be missing in the schema, but the model accepts "
            "no missing values. Set `optional` to false, or train a HistGradientBoostingClassifier."
        )


def _bind_by_name(feature: Feature, columns: list[Column], notes: list[str]) -> Binding | None:
    for column in columns:
        if feature.name in (column.header, column.name, column.header.replace(" ", "_")):
            return _binding(feature, column, notes)
    for column in columns:
        if isinstance(column, CategoricalColumn):
            for value in column.values:
                made = (f"{column.header}_{value}", f"{column.name}_{value}")
                if feature.name in (*made, made[0].replace(" ", "_")):
                    return _indicator(column, value)
    return None


def _indicator(column: CategoricalColumn, value: str) -> Binding:
    texts = [value, *column.groups.get(value, [])]
    numbers = dict.fromkeys(column.values, 0.0) | dict.fromkeys(texts, 1.0)
    return Binding(column, numbers, missing=0.0, unlisted=1.0 if column.other == value else 0.0)


def _binding(feature: Feature, column: Column, notes: list[str]) -> Binding:
    if isinstance(column, OrdinalColumn):
        if feature.categorical:
            raise ImportRefused(
                f"The model takes {column.name} as a category; declare it as categorical in the "
                "schema, with the model's categories as its values."
            )
        return Binding(column, None)
    if not feature.categorical:
        return Binding(column, _as_numbers(column))
    codes = _codes(feature, column, notes)
    if isinstance(column, BooleanColumn):
        return Binding(column, _boolean_codes(column, codes))
    unknown = [value for value in column.values if not _known(column, value, codes)]
    if len(unknown) == len(column.values):
        raise ImportRefused(
            f"None of the values of {column.name} in the schema is a category of the model, which "
            f"has {listed(list(codes), 8)}."
        )
    if unknown:
        notes.append(
            f"The model does not know {listed(unknown, 5)} of {column.name} and treats it as "
            "missing."
        )
    texts = [text for value in column.values for text in _texts(column, value)]
    return Binding(column, {text: codes[_key(text)] for text in texts if _key(text) in codes})


def _texts(column: CategoricalColumn, value: str) -> list[str]:
    return [value, *column.groups.get(value, [])]


def _known(column: CategoricalColumn, value: str, codes: Mapping[str, float]) -> bool:
    return any(_key(text) in codes for text in _texts(column, value))


def _as_numbers(column: BooleanColumn | CategoricalColumn) -> dict[Any, float]:
    """Return the numbers of the values of a column that the model takes as a number."""
    if isinstance(column, BooleanColumn):
        return {False: 0.0, True: 1.0}
    try:
        return {text: float(text) for value in column.values for text in _texts(column, value)}
    except ValueError:
        raise ImportRefused(
            f"The model takes {column.name} as a number, but its values in the schema are texts. "
            "Declare the numbers that the model was trained on as the values, and the texts in "
            "`groups`, or declare the column as ordinal."
        ) from None


def _codes(feature: Feature, column: Column, notes: list[str]) -> dict[str, float]:
    """Return the codes of the categories by their texts."""
    if feature.categories is not None:
        return {_key(text): float(code) for code, text in enumerate(feature.categories) if text}
    values = column.values if isinstance(column, CategoricalColumn) else ["0", "1"]
    if all(_key(value).isdecimal() for value in values):
        return {_key(value): float(_key(value)) for value in values}
    notes.append(
        f"The model file numbers the categories of {column.name} and does not name them: they are "
        f"the schema's values in their order, {listed(list(values), 8)}. Check this."
    )
    return {_key(value): float(code) for code, value in enumerate(values)}


def _boolean_codes(column: BooleanColumn, codes: Mapping[str, float]) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for text, code in codes.items():
        word = text.lower()
        if text in column.true_words or word in TRUE_WORDS:
            found[True] = code
        elif text in column.false_words or word in FALSE_WORDS:
            found[False] = code
    if len(found) < 2:
        raise ImportRefused(
            f"The model's categories of {column.name} are {listed(list(codes), 8)}; list those "
            "that mean yes and no in `true_words` and `false_words` of the schema."
        )
    return found


def _key(text: str) -> str:
    """Return a text under which equal categories are equal: `1`, `1.0` and ` 1` are."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)
