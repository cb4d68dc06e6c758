"""Values of a categorical column: frequent texts, long codes by their beginning, and `other`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from features.cells import word
from features.schema import MAXIMUM_GROUPED
from training.draft.kinds import Category

MOST_VALUES = 64
_LONGEST_VALUE = 80
_COVERED = 0.9
"""Share of rows in a group from which on a longer beginning of codes is chosen."""
_OTHER_WORDS = ("other", "others", "sonstige", "sonstiges", "andere", "autre", "otros")


def values_of(category: Category, fewest: int) -> tuple[list[str], str, dict[str, list[str]], str]:
    """Return the values, the value for all other texts, the groups, and a note on them.

    A value has at least `fewest` rows, apart from `other`, which takes the rest and texts that
    occur only later. Of equal texts apart from case and blanks, the most frequent spelling is the
    value. Values are in alphabetical order, `other` last; it is alone if all others are rare.
    """
    counts = np.bincount(category.positions[~category.missing], minlength=len(category.texts))
    spelt: dict[str, list[int]] = defaultdict(list)
    for i in np.argsort(-counts, kind="stable"):
        spelt[word(category.texts[i])].append(int(i))
    totals = {key: int(counts[own].sum()) for key, own in spelt.items()}
    other = next((category.texts[spelt[w][0]].strip() for w in _OTHER_WORDS if w in spelt), "other")
    usable = {key for key in spelt if _usable(category.texts[spelt[key][0]].strip())}
    usable -= {word(other)}
    if len(usable) > MOST_VALUES - 1 and (length := _code_length(usable)):
        prefixes = _by_prefix({key: totals[key] for key in usable}, length, fewest)
        if len(prefixes) > 1:
            groups = {
                f"{prefix}*": [category.texts[spelt[key][0]].strip() for key in sorted(keys)]
                for prefix, keys in prefixes.items()
            }
            note = f"{len(usable)} codes, grouped by their first {len(min(prefixes))} characters"
            return [*sorted(groups), other], other, groups, note
    frequent = sorted(
        (key for key in usable if totals[key] >= fewest), key=lambda key: (-totals[key], key)
    )
    kept = frequent[: MOST_VALUES - 1]
    values = sorted(category.texts[spelt[key][0]].strip() for key in kept)
    joined = len(spelt) - len(kept) - (word(other) in spelt)
    note = f"{len(values)} values"
    if joined > 0:
        note += f"; {joined} rare ones count as {other}"
    return [*values, other], other, {}, note


def _usable(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_VALUE and text.isprintable()


def _code_length(keys: set[str]) -> int:
    """Return the common length of all keys if they are codes of one length, or 0."""
    lengths = {len(key) for key in keys}
    codes = len(lengths) == 1 and all(key.isalnum() for key in keys)
    return lengths.pop() if codes and len(keys) <= MAXIMUM_GROUPED else 0


def _by_prefix(totals: dict[str, int], length: int, fewest: int) -> dict[str, list[str]]:
    """Return the codes by their beginning, in groups of at least `fewest` rows.

    The beginning is the longest that leaves few rows without a group, or else the one that leaves
    the fewest. Empty if no length gives few enough groups.
    """
    best: dict[str, list[str]] = {}
    most = 0
    for characters in range(length - 1, 0, -1):
        groups: dict[str, list[str]] = defaultdict(list)
        for key in totals:
            groups[key[:characters].upper()].append(key)
        kept = {p: keys for p, keys in groups.items() if sum(totals[k] for k in keys) >= fewest}
        if len(kept) > MOST_VALUES - 1:
            continue
        covered = sum(totals[key] for keys in kept.values() for key in keys)
        if covered > most:
            best, most = kept, covered
        if covered >= _COVERED * sum(totals.values()):
            break
    return best
