"""Proof that a finished program keeps the directions that its schema asks for, for every input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from features.encoding import Layout
from features.schema import Schema
from model.monotone import directions, least_steps
from model.program import Program
from utils.errors import NotMonotone, TrainingDataInvalid


def require_consistent(schema: Schema) -> None:
    """Raise TrainingDataInvalid if the explained column and its explanation disagree."""
    explanation = schema.explanation
    own = {"rising": "more", "falling": "less"}.get(schema.explained_column.monotone)
    if explanation.monotone and own not in (None, explanation.direction):
        raise TrainingDataInvalid(
            f"Column {explanation.column} is {schema.explained_column.monotone} (monotone), but "
            f"the explanation advises {explanation.direction} of it. Set explanation.direction to "
            f'"{own}" in the schema, or change monotone.'
        )


def proven_directions(program: Program, layout: Layout) -> dict[str, int]:
    """Return, of the directions that the schema asks for, those that the program keeps.

    By column, 1 for rising and -1 for falling, of the program's first output.
    """
    return {
        name: sign
        for name, sign in directions(layout.schema).items()
        if min(least_steps(program.score_polynomial, layout, name, sign).values()) >= 0
    }


def require_monotone(program: Program, layout: Layout) -> dict[str, int]:
    """Return the directions of all monotone columns, all proven; raises NotMonotone."""
    wanted, proven = directions(layout.schema), proven_directions(program, layout)
    missing = wanted.keys() - proven.keys()
    if missing:
        raise NotMonotone(
            f"Program {program.name} with scores of {program.score_bits} bits does not keep the "
            f"direction of {', '.join(sorted(missing))} for every input, which the schema asks "
            "for. Train it here, where the trees are constrained, or set monotone to free (of the "
            "explained column also explanation.monotone to false)."
        )
    return proven


def monotone_facts(proven: Mapping[str, int]) -> dict[str, Any]:
    """Return the proven directions as JSON values."""
    return {name: "rising" if sign > 0 else "falling" for name, sign in sorted(proven.items())}


def monotone_text(programs: Sequence[Program], layout: Layout) -> str:
    """Return a sentence on the directions that all programs keep, or nothing without any."""
    each = [proven_directions(program, layout) for program in programs]
    proven = {name: sign for name, sign in sorted(each[0].items()) if all(name in p for p in each)}
    parts = [
        f"{verb} as {_names(proven, sign)} grows"
        for sign, verb in ((1, "never falls"), (-1, "never rises"))
        if sign in proven.values()
    ]
    if not parts:
        return ""
    return (
        f"For every input that the schema allows, the score {', and it '.join(parts)}: proven on "
        "the integer programs."
    )


def _names(proven: Mapping[str, int], sign: int) -> str:
    return " or ".join(f"`{name}`" for name, own in proven.items() if own == sign)
