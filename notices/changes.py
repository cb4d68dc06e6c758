"""The changes that an explanation found, for a notice."""

from __future__ import annotations

from features.schema import Schema, number_text
from features.variations import Variation, variations
from model.explanation import Explanation
from notices.content import Change


def changes_of(
    schema: Schema, explanation: Explanation
) -> tuple[tuple[tuple[Change, ...], ...], tuple[str, ...]]:
    """Return the changes that would likely have turned the decision, and all columns tried.

    Each change is of one column, or of two together. Columns are given by name.
    """
    main, *others = variations(schema)
    by_name = {one.column.name: one for one in others}
    found: list[tuple[Change, ...]] = []
    if explanation.turning_bin is not None:
        found.append((_change(main, explanation.turning_bin),))
    for varied in explanation.others:
        if varied.turning is not None:
            found.append((_change(by_name[varied.column], varied.turning),))
    if explanation.pair is not None:
        by_name[main.column.name] = main
        both = zip(explanation.pair.columns, explanation.pair.steps, strict=True)
        found.append(
            tuple(_change(by_name[name], _index(by_name[name], step)) for name, step in both)
        )
    return tuple(found), tuple(one.column.name for one in variations(schema))


def _change(one: Variation, index: int) -> Change:
    direction, bound = one.bound(index)
    return Change(one.column.label, direction, number_text(bound), one.column.unit)


def _index(one: Variation, words: str) -> int:
    return next(i for i in range(len(one.bins)) if one.words(i) == words)
