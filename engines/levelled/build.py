"""Offline build: selects the engine's programs and verifies their noise budgets.

Wider scores represent the model more precisely but leave less margin for noise, so the widest
programs whose noise budget suffices are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.deployment import write_programs
from engines.interface import DECIDE
from engines.levelled.budgets import noise_budgets
from engines.levelled.messages import NAME
from engines.levelled.noise import NoiseBudget
from engines.levelled.parameters import DEFAULT, Parameters
from engines.levelled.selection import SelectionTree
from features.encoding import Layout
from model.program import Program
from utils.errors import NoiseBudgetExceeded

SCORE_WIDTHS = (12, 11, 10)
"""Widths of a score in bits, tried in this order; one bit less rounds twice as coarsely."""

ProgramsOfWidth = Callable[[int], dict[str, Program]]


def build(
    programs_of_width: ProgramsOfWidth,
    layout: Layout,
    folder: Path,
    parameters: Parameters = DEFAULT,
) -> dict[str, Any]:
    """Write `folder`/levelled and return the engine's facts for the manifest.

    `programs_of_width` builds a model's programs for a given score width. Raises
    NoiseBudgetExceeded if even the narrowest programs fail to decrypt too often.
    """
    programs, budgets = _widest(programs_of_width, layout, parameters)
    own = folder / NAME
    shutil.rmtree(own, ignore_errors=True)
    write_programs(own, programs)
    trees = {name: SelectionTree.of(program) for name, program in programs.items()}
    sizes = {p: layout.party_bits(p) for p in layout.schema.party_names}
    return {
        "profile": parameters.profile,
        "score_bits": programs[DECIDE].score_bits,
        "external_products": {name: tree.products for name, tree in trees.items()},
        # Rounded, since the last digits depend on the machine and these facts identify the model.
        "margin_sigmas": {n: round(b.half_step / b.sigma_program, 1) for n, b in budgets.items()},
        "failure_log2": {n: round(b.failure_log2, 1) for n, b in budgets.items()},
        "room_bits": {n: round(b.room, 2) for n, b in budgets.items()},
        "public_key_bytes": parameters.public_key_bytes,
        "input_bytes": {p: [parameters.inputs_bytes(s.stop - s.start)] for p, s in sizes.items()},
    }


def _widest(
    programs_of_width: ProgramsOfWidth, layout: Layout, parameters: Parameters
) -> tuple[dict[str, Program], dict[str, NoiseBudget]]:
    refused: NoiseBudgetExceeded | None = None
    for width in SCORE_WIDTHS:
        programs = programs_of_width(width)
        trees = {name: SelectionTree.of(program) for name, program in programs.items()}
        try:
            return programs, noise_budgets(trees, len(layout.schema.parties), parameters)
        except NoiseBudgetExceeded as error:
            refused = error
    raise refused or NoiseBudgetExceeded("There is no score width to try.")
