"""The values that a program opens to its readers, computed from its scores."""

from __future__ import annotations

from collections.abc import Iterable

from engines.interface import PublicModel


def opened_values(public: PublicModel, program: str, scores: Iterable[float]) -> tuple[float, ...]:
    """Return the scores, or 0 (approved) and -1 (denied) if the model opens signs only."""
    if public.opens_sign(program):
        return tuple(0.0 if score >= 0 else -1.0 for score in scores)
    return tuple(float(score) for score in scores)
