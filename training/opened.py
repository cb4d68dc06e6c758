"""The values that a program opens to its readers, computed from its scores."""

from __future__ import annotations

from collections.abc import Iterable

from engines.interface import PublicModel
from model.levels import levels_of


def opened_values(public: PublicModel, program: str, scores: Iterable[float]) -> tuple[float, ...]:
    """Return the scores, or what the model opens of them.

    That is 0 (approved) and -1 (denied) if signs, or 0 to 7 if levels.
    """
    if public.opens_sign(program):
        return tuple(0.0 if score >= 0 else -1.0 for score in scores)
    edges = public.programs[public.final(program)].edges
    if edges is not None:
        return tuple(float(level) for level in levels_of(list(scores), edges))
    return tuple(float(score) for score in scores)
