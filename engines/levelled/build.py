"""Offline build: selects the engine's programs and verifies their noise budgets.

Wider scores represent the model more precisely but leave less margin for noise, so the widest
programs whose noise budget suffices are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from engines.deployment import write_programs
from engines.interface import DECIDE
from engines.levelled.budgets import noise_budgets
from engines.levelled.masks import MaskFormat
from engines.levelled.messages import NAME
from engines.levelled.parameters import DEFAULT, WIDE_NOISE, Parameters
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import sign_budgets
from engines.levelled.well_formed import check_budget
from features.encoding import Layout
from model.program import Program
from utils.errors import NoiseBudgetExceeded

SCORE_WIDTHS = (12, 11, 10)
"""Widths of a score in bits, tried in this order; one bit less rounds twice as coarsely."""

SIGN, SCORE = "sign", "score"
OPENS = (SIGN, SCORE)
"""Data that a deployment opens to its readers."""

PARAMETERS_OF: Mapping[str, tuple[Parameters, ...]] = {
    SIGN: (WIDE_NOISE, DEFAULT),
    SCORE: (DEFAULT,),
}
"""The profiles that are tried, in this order. Covered scores need the room of the narrower noise;
of signs, only models of hundreds of external products do."""

ProgramsOfWidth = Callable[[int], dict[str, Program]]


def build(
    programs_of_width: ProgramsOfWidth,
    layout: Layout,
    folder: Path,
    parameters: Parameters | None = None,
    opens: str = SIGN,
) -> dict[str, Any]:
    """Write `folder`/levelled and return the engine's facts for the manifest.

    `programs_of_width` builds a model's programs for a given score width; `opens` is one of OPENS.
    The first profile of PARAMETERS_OF that leaves enough room is used, or `parameters` alone.

    Raises NoiseBudgetExceeded if even the narrowest programs fail to decrypt too often, or if the
    noise leaves no room to check the inputs.
    """
    tried = (parameters,) if parameters else PARAMETERS_OF[opens]
    parameters, programs, noise = _first(cache(programs_of_width), layout, tried, opens)
    own = folder / NAME
    shutil.rmtree(own, ignore_errors=True)
    write_programs(own, programs)
    trees = {name: SelectionTree.of(program) for name, program in programs.items()}
    sizes = {p: layout.party_bits(p) for p in layout.schema.party_names}
    return {
        "profile": parameters.profile,
        "opens": opens,
        "score_bits": programs[DECIDE].score_bits,
        "external_products": {name: tree.products for name, tree in trees.items()},
        **noise,
        "public_key_bytes": parameters.public_key_bytes,
        "input_bytes": {p: [parameters.inputs_bytes(s.stop - s.start)] for p, s in sizes.items()},
    }


def _first(
    programs_of_width: ProgramsOfWidth, layout: Layout, tried: Sequence[Parameters], opens: str
) -> tuple[Parameters, dict[str, Program], dict[str, Any]]:
    """Return the first profile with enough room, and its programs and facts."""
    refused: NoiseBudgetExceeded | None = None
    for parameters in tried:
        try:
            if opens == SIGN:
                check_budget(layout, parameters)  # raises if a party's inputs are too many
            parties = len(layout.schema.parties)
            return parameters, *_widest(programs_of_width, parties, parameters, opens)
        except NoiseBudgetExceeded as error:
            refused = error
    raise refused or NoiseBudgetExceeded("There is no profile to try.")


def _widest(
    programs_of_width: ProgramsOfWidth, parties: int, parameters: Parameters, opens: str
) -> tuple[dict[str, Program], dict[str, Any]]:
    """Return the widest programs whose noise budgets suffice, and the facts of these."""
    refused: NoiseBudgetExceeded | None = None
    for width in SCORE_WIDTHS:
        programs = programs_of_width(width)
        trees = {name: SelectionTree.of(program) for name, program in programs.items()}
        try:
            if opens == SIGN:
                return programs, _sign_facts(trees, parties, parameters)
            return programs, _score_facts(trees, parties, parameters)
        except NoiseBudgetExceeded as error:
            refused = error
    raise refused or NoiseBudgetExceeded("There is no score width to try.")


def _score_facts(
    trees: dict[str, SelectionTree], parties: int, parameters: Parameters
) -> dict[str, Any]:
    budgets = noise_budgets(trees, parties, parameters)
    # Rounded, since the last digits depend on the machine and these facts identify the model.
    return {
        "margin_sigmas": {n: round(b.half_step / b.sigma_program, 1) for n, b in budgets.items()},
        "failure_log2": {n: round(b.failure_log2, 1) for n, b in budgets.items()},
        "room_bits": {n: round(b.room, 2) for n, b in budgets.items()},
    }


def _sign_facts(
    trees: dict[str, SelectionTree], parties: int, parameters: Parameters
) -> dict[str, Any]:
    budgets = sign_budgets(trees, parties, parameters)
    sizes = {
        name: MaskFormat.of(parameters, tree.score_bits, parties).mask_bytes(tree.outputs)
        for name, tree in trees.items()
    }
    return {
        "margin_sigmas": {
            n: round(2.0 ** -(trees[n].score_bits + 1) / b.zeros.sigma_program, 1)
            for n, b in budgets.items()
        },
        "failure_log2": {
            n: round(max(b.zeros.failure_log2, b.signs.failure_log2, b.border_log2), 1)
            for n, b in budgets.items()
        },
        "room_bits": {n: round(b.signs.room, 2) for n, b in budgets.items()},
        "mask_bytes": sizes,
    }
