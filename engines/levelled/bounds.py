"""A party's own bounds on openings, which no server can change.

The sizes and noise of an opening come from the server, in its public model and client files. A
server that cheats could ask for 2,040 outputs and a smudge of 1e-300, and take the other party's
whole secret from one opening. So a party compares what it is told with the figures here before it
makes a key, and again before it computes any part of an opening.

Within the bounds, an opening of n coefficients tells colluding parties and the server about the
remaining party's secret at most

    n/2 · log2(1 + (σ_program / σ_smudge)²) bits      if the server evaluates the program,
    n · log2(1 / (σ_smudge · √(2πe))) bits            whatever ciphertext the server chooses,

the capacities of a channel with Gaussian noise, on a real number and on the torus. At the least
smudges, for an application with a decision and an explanation of 11 scores and the noise of
leakage.py, these are 0.37 and 1,047 bits of the secret's 3,246 if signs are opened (61 % of the
1,047 by the checks of inputs, whose smudge no server states), and 0.17 and 482 bits if scores are.
Levels of 8 reasons add 237 bits to the second figure.
The bounds alone do not stop a server that chooses the ciphertext; they keep it from taking the
whole secret.

Source: Cover, Thomas, "Elements of Information Theory", 2nd edition, 2006, theorems 8.6.5 and
9.1.1; Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, PETS 2021, section 4, for smudging.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engines.interface import (
    DECIDE,
    EXPLAIN,
    MASKED_BY,
    PROGRAMS,
    REASONS,
    SIGN_OF,
    PublicModel,
)
from engines.levelled.messages import ClientFacts, ProgramBudget, compared_bits
from engines.levelled.parameters import KNOWN_ZEROS, LEVEL_BITS, PROFILES, ZERO_BITS
from features.schema import MAXIMUM_EXPLAINED, Schema
from model.levels import valid_edges
from model.reasons import MOST_STATED
from utils.errors import UnsafeParameters


@dataclass(frozen=True)
class Bounds:
    """The limits of a profile; standard deviations are in units of the torus.

    The least smudges are those on scores, on the known zeros of masked scores, on signs, and on
    levels of reasons.
    """

    least_smudge: float
    least_zeros_smudge: float
    least_sign_smudge: float
    least_level_smudge: float
    most_score_bits: int
    least_margin: float
    """Fewest standard deviations of all smudges and the flooding in half a score step."""


BOUNDS: Mapping[str, Bounds] = {
    profile: Bounds(
        # The noise budgets give every party at least 2^-19 on scores, 2^-15 on zeros of 8 bits,
        # 2^-9 on signs and 2^-10 on levels: 8 parties, the most that a schema may have, and scores
        # of 12 bits (engines/levelled/noise.py, sign_budgets.py). One more quarter of a bit is the
        # step to which budgets are rounded.
        least_smudge=2.0**-19.25,
        least_zeros_smudge=2.0**-15.25,
        least_sign_smudge=2.0**-9.25,
        least_level_smudge=2.0**-10.25,
        # The widest scores that training.compile tries. Every further bit halves the room for
        # smudges, and tells a reader more about the other parties' records.
        most_score_bits=12,
        # Noise budgets leave at least 9.2 (a failure probability of 2^-64); with less, a server
        # could have wrong results opened by asking for too much noise.
        least_margin=9.0,
    )
    for profile in PROFILES
}
"""The bounds of every profile with which a party opens anything."""

MOST_OUTPUTS = max(MAXIMUM_EXPLAINED, MOST_STATED)
"""Most scores of an opening: of the values that a schema may have explanations try, or reasons."""
MOST_COEFFICIENTS = MOST_OUTPUTS + KNOWN_ZEROS
"""Most coefficients of one opening, of 2,048 that make up a secret."""


def allowed_outputs(schema: Schema) -> dict[str, int]:
    """Return the exact number of scores of every program that a party opens.

    Without `reasons` if the schema has more of them than a program may have.
    """
    decided = 1 if schema.decision.refer_below is None else 2
    scores = {
        DECIDE: decided,
        EXPLAIN: schema.explained_outputs,
        REASONS: len(schema.stated_reasons),
    }
    if scores[REASONS] > MOST_STATED:
        del scores[REASONS]
    return scores | {SIGN_OF[program]: count for program, count in scores.items()}


def check_bounds(public: PublicModel, client: ClientFacts) -> None:
    """Check the public model and client files from a server; raises UnsafeParameters."""
    bounds = BOUNDS.get(client.profile)
    if bounds is None:
        raise _unsafe(f"the parameters {client.profile[:40]!r}, which are not among its own")
    masked = {name for name in PROGRAMS if public.masked(name)}
    if masked and masked != {name for name in PROGRAMS if name in public.programs}:
        raise _unsafe(f"signs of {', '.join(sorted(masked))} alone, and scores of all others")
    for name, program in public.programs.items():
        check_outputs(name, len(program.outputs), public.schema_)
        _check_width(name, program.score_bits, bounds)
        _check_edges(name, public)
    for name, budget in client.budgets.items():
        _check_program(name, public.schema_)
        _check_width(name, budget.score_bits, bounds)
        _check_noise(name, budget, public, bounds)


def check_outputs(program: str, outputs: int, schema: Schema) -> None:
    """Check the number of scores that an opening gives; raises UnsafeParameters."""
    _check_program(program, schema)
    allowed = allowed_outputs(schema)[program]
    if outputs != allowed:
        raise _unsafe(f"{outputs} scores of {program} instead of {allowed}")


def check_coefficients(count: int) -> None:
    """Check how many coefficients an opening gives in all; raises UnsafeParameters."""
    if count > MOST_COEFFICIENTS:
        raise _unsafe(f"{count} coefficients, more than {MOST_COEFFICIENTS}")


def _check_program(program: str, schema: Schema) -> None:
    if program not in allowed_outputs(schema):
        raise _unsafe(f"a program {program[:40]!r}, which it does not know")


def _check_width(program: str, score_bits: int, bounds: Bounds) -> None:
    if score_bits > bounds.most_score_bits:
        raise _unsafe(f"{score_bits} score bits for {program}, more than {bounds.most_score_bits}")


def _check_edges(program: str, public: PublicModel) -> None:
    """Check the edges of levels, which tell readers of reasons the meaning of a level."""
    edges = public.programs[program].edges
    if program != SIGN_OF[REASONS]:
        if edges is not None:
            raise _unsafe(f"levels of {program[:40]}, which has none")
        return
    points = public.programs.get(REASONS)
    if points is None or public.programs[program].score_bits != LEVEL_BITS:
        raise _unsafe(f"levels of other than {LEVEL_BITS} bits, or of nothing")
    if not valid_edges(edges or (), points.score_bits, len(points.outputs)):
        raise _unsafe("edges of levels that do not rise from 1 within the range of points")


def _check_noise(program: str, budget: ProgramBudget, public: PublicModel, bounds: Bounds) -> None:
    if program in MASKED_BY:
        bits = compared_bits(program)
        least = bounds.least_level_smudge if bits == LEVEL_BITS else bounds.least_sign_smudge
    elif public.masked(program):
        bits, least = ZERO_BITS, bounds.least_zeros_smudge
    else:
        bits, least = budget.score_bits, bounds.least_smudge
    # Written so that NaN is refused as well.
    if not least <= budget.sigma_smudge < math.inf:
        raise _unsafe(f"a smudge of {budget.sigma_smudge:.3g} for {program}, less than {least:.3g}")
    parties = len(public.schema_.parties)
    noise = math.sqrt(parties * budget.sigma_smudge**2 + budget.sigma_flood**2)
    most = 2.0 ** -(bits + 1) / bounds.least_margin
    if not noise <= most:
        raise _unsafe(
            f"smudges and flooding of {noise:.3g} for {program}, more than {most:.3g}: results "
            "would be wrong"
        )


def _unsafe(what: str) -> UnsafeParameters:
    return UnsafeParameters(
        f"The server asks for an opening with {what}; this party opens nothing with it. Do not use "
        "this server until its operator has explained this; a model compiled by this release is "
        "within the bounds of its parties."
    )
