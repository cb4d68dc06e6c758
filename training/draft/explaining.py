"""The explained column, its alternatives, and the wording of reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from features.schema import MAXIMUM_STEPS
from training.draft.columns import Drafted
from training.draft.relations import Relation

MOST_ALTERNATIVES = 2
MOST_REASONS = 32
_WEAK = 0.02
_FEWEST_CUTS = 5
"""An ordinal column with fewer cuts may be a list of codes."""
_LONGEST_PHRASE = 80
_ALTERNATIVE_STEPS = 7


def explanation_document(
    columns: Sequence[Drafted], relations: Mapping[str, Relation]
) -> tuple[dict[str, Any], str]:
    """Return the explanation of the schema and the reason for its columns.

    `columns` has at least one ordinal column. Prefers columns that a person can act on by their
    name, if the data agrees with the direction of the name; of these, monotone ones, and then
    those that separate the outcomes best.
    """
    ordinals = [column for column in columns if column.ordinal]
    actionable = [c for c in ordinals if _can_act_on(c) and _agrees(c, relations[c.header])]
    ranked = sorted(actionable, key=lambda column: _rank(column, relations))
    why = "a person can act on it, by its name"
    if not ranked:
        allowed = [c for c in ordinals if not c.meaning.laws] or ordinals
        ranked = sorted(allowed, key=lambda column: _rank(column, relations))[:1]
        why = "no column that a person can act on was found by name; check that it may be advised"
    chosen, others = ranked[0], ranked[1 : 1 + MOST_ALTERNATIVES]
    document = {
        "column": chosen.name,
        "phrase": _phrase(chosen),
        "direction": _direction(chosen, relations[chosen.header]),
        "monotone": True,
        "alternatives": [
            {
                "column": other.name,
                "direction": _direction(other, relations[other.header]),
                "steps": _steps(other.document["cuts"]),
                "phrase": _phrase(other),
            }
            for other in others
        ],
    }
    return document, why


def _can_act_on(column: Drafted) -> bool:
    return bool(column.meaning.main and column.meaning.main.actionable)


def _agrees(column: Drafted, relation: Relation) -> bool:
    usual = column.meaning.main.better if column.meaning.main else None
    return usual is None or abs(relation.auc - 0.5) < _WEAK or usual == relation.direction


def _direction(column: Drafted, relation: Relation) -> str:
    """Return the direction by the data, or by the name where the data hardly has one."""
    usual = column.meaning.main.better if column.meaning.main else None
    return usual if usual and abs(relation.auc - 0.5) < _WEAK else relation.direction


def _rank(column: Drafted, relations: Mapping[str, Relation]) -> tuple[bool, bool, float]:
    """Return the sort key: first numbers rather than codes, then monotone and separating ones."""
    relation = relations[column.header]
    codes = len(column.document["cuts"]) < _FEWEST_CUTS
    return codes, not relation.monotone, -abs(relation.auc - 0.5)


def _steps(cuts: list[float]) -> list[float]:
    """Return some of the cuts, evenly spread."""
    count = min(len(cuts), _ALTERNATIVE_STEPS, MAXIMUM_STEPS - 1)
    return [cuts[(2 * i + 1) * len(cuts) // (2 * count)] for i in range(count)]


def _phrase(column: Drafted) -> str:
    """Return the words after a number: `months of account age`."""
    label = str(column.document["label"])
    label = label if label[:2].isupper() else label[:1].lower() + label[1:]
    return f"{column.document.get('unit', '')} of {label}".strip()[:_LONGEST_PHRASE]


def reason_documents(columns: Sequence[Drafted]) -> list[dict[str, Any]]:
    """Return one reason for each meaning of columns, and for each column without one.

    Wordings follow the kinds of sample form C-1 of Regulation B (12 CFR part 1002, appendix C).
    The list is empty if there are more reasons than a schema may have; then each column is a
    reason under its label.
    """
    reasons: dict[str, dict[str, Any]] = {}
    names = {column.name for column in columns}
    for column in columns:
        concept = next((c for c in column.meaning.concepts if c.reason), None)
        if concept is not None and concept.reason:
            key = concept.name if concept.name not in names else f"{concept.name}_reason"
            text, german = concept.reason
        else:
            label = str(column.document["label"])
            key, text, german = column.name, f"Level of {label}", f"Wert von {label}"
        reason = {"name": key, "columns": [], "text": text, "texts": {"de": german}}
        reasons.setdefault(key, reason)["columns"].append(column.name)
    return list(reasons.values()) if len(reasons) <= MOST_REASONS else []
