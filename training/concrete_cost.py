"""The cost of a model on Concrete: the widest affordable score, and timed encrypted runs.

Needs the Concrete environment (`make setup-concrete`).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engines.concrete.circuit import bootstrap_level, circuit_inputs, compile_programs
from engines.concrete.signals import restore_broken_pipes
from features.encoding import Bits, Layout
from model.program import Program
from training.frontier import NARROWEST, programs_for

WIDTHS = (8, NARROWEST)
"""Score widths to try; the first one with a one-level bootstrap is taken."""
_TIMED_RUNS = 5


def widest_programs(
    booster: bytes, layout: Layout, calibration: Bits, seconds: float = 15.0
) -> tuple[dict[str, Program], Any]:
    """Return the programs with the widest score that needs a one-level bootstrap, and the module.

    A second level would increase the time by more than half and double the key. If no width needs
    only one level, the narrowest is used.
    """
    programs, module = {}, None
    for width in WIDTHS:
        programs = programs_for(booster, layout, calibration, width, seconds, reasons=False)
        module = compile_programs(list(programs.values()), layout)
        if bootstrap_level(module) <= 1:
            break
    return programs, module


def timed(module: Any, layout: Layout, bits: Bits) -> tuple[float, float]:
    """Return the median seconds of a decision and of an explanation of one encrypted row."""
    module.keygen()
    client, server = module.client, module.server
    values = client.encrypt(*circuit_inputs(layout, bits), function_name="decide")
    medians = {}
    for program in ("decide", "explain"):
        seconds = []
        for _ in range(1 + _TIMED_RUNS):  # the first run expands the keys
            start = time.perf_counter()
            server.run(*values, evaluation_keys=client.evaluation_keys, function_name=program)
            seconds.append(time.perf_counter() - start)
        medians[program] = float(np.median(seconds[1:]))
    restore_broken_pipes()
    return medians["decide"], medians["explain"]
