"""Compilation of a program to a Concrete circuit.

Every party has two encrypted inputs: its bits, which index tables, and its column states (one-hot),
which the linear part uses. They are separate because bits used for both would have the width of the
score. Each lookup of the plan is one 4-bit programmable bootstrap. All terms of a score are added
in a single sum, so that no partial sum is wider than the score itself.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from concrete import fhe
from concrete.fhe.compilation.compiler import NotComposable
from concrete.fhe.compilation.module_compiler import FunctionDef, ModuleCompiler
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.plan import Lookup, Plan
from model.polynomial import sample_states
from model.program import Program
from utils.errors import ModelTooLarge, ProgramInvalid

P_ERROR = 2.0**-64
"""Error probability of one lookup; Concrete's default of 1e-5 would be noticeable in practice."""

_CELLS = 16
_SAMPLE_ROWS = 300
_WIDER = 3


def input_names(layout: Layout) -> list[str]:
    """Return the circuit's parameters in order: for each party its bits, then its states."""
    return [f"{party}_{part}" for party in layout.schema.party_names for part in ("bits", "states")]


def party_inputs(layout: Layout, party: str, bits: Bits) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a party's two inputs as integers: its bits (bits,) and one-hot states (states,)."""
    states = []
    for code in layout.party_codes(party):
        first = code.first_bit - layout.party_bits(party).start
        own = bits[first : first + code.n_bits]
        states.append((code.table == own).all(axis=1).astype(np.int64))
    return bits.astype(np.int64), np.concatenate(states)


def circuit_inputs(layout: Layout, bits: Bits) -> tuple[NDArray[Any], ...]:
    """Return all inputs of the circuit for one row of bits, shape (n_bits,)."""
    return tuple(
        part
        for party in layout.schema.party_names
        for part in party_inputs(layout, party, bits[layout.party_bits(party)])
    )


def circuit_function(
    program: Program, layout: Layout, sign_only: bool, width: int, index_width: int
) -> Callable[..., Any]:
    """Return the function to compile: from all parties' inputs to the scores, shape (outputs,).

    `width` is the width of the score in bits, at least the program's own, and `index_width` that
    of a table's index. With `sign_only` every output is 0 (approved) or -1 (denied), and the score
    stays hidden.
    """
    plan, outputs = program.plan, len(program.outputs)
    names = input_names(layout)
    # Centred weights are smaller; the difference is added as a constant.
    linear, constants = _centred(plan.linear, layout)
    members = [
        [i for i, t in enumerate(plan.lookups) if output in t.outputs] for output in range(outputs)
    ]
    most_bits = max([len(t.bits) for t in plan.lookups], default=0)
    indices = np.zeros((len(plan.lookups), most_bits), np.int64)
    weights = np.zeros((len(plan.lookups), most_bits), np.int64)
    tables = np.zeros((len(plan.lookups), _CELLS), np.int64)
    for i, lookup in enumerate(plan.lookups):
        indices[i, : len(lookup.bits)] = lookup.bits
        weights[i, : len(lookup.bits)] = lookup.weights
        tables[i, : len(lookup.values)] = lookup.values
    table = (
        fhe.LookupTable(np.array([fhe.LookupTable(row.tolist()) for row in tables]))
        if len(plan.lookups)
        else None
    )
    half = width - 1

    def evaluate(**named: Any) -> Any:  # Concrete passes arguments by their names
        inputs = [named[name] for name in names]
        states = np.concatenate(tuple(inputs[1::2]))
        looked_up: Any = None
        if table is not None:
            bits = np.concatenate(tuple(inputs[0::2]))
            # Column by column, which Concrete runs three times as fast as a matrix product.
            cells: Any = bits[indices[:, 0]] * weights[:, 0]
            for position in range(1, most_bits):
                cells = cells + bits[indices[:, position]] * weights[:, position]
            looked_up = table[fhe.hint(cells, bit_width=index_width)]
        scores = []
        for output in range(outputs):
            # Two sums, since Concrete assumes the worst noise for all elements of a tensor.
            used = np.flatnonzero(linear[output])
            if not len(used):  # an unused input would have another encoding
                used = np.array([0])
            score = np.sum(states[used] * linear[output][used])
            if members[output]:
                score = score + np.sum(looked_up[np.array(members[output])])
            scores.append(fhe.hint(score + int(constants[output]), bit_width=half + 1))
        if sign_only:
            scores = [_sign(score, half) for score in scores]
        # A tuple, since Concrete would assume the worst noise for all elements of an array.
        return tuple(scores) if outputs > 1 else scores[0]

    evaluate.__name__ = program.name
    evaluate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    )
    return evaluate


def _sign(score: Any, half: int) -> Any:
    """Return 0 if score >= 0, else -1: the top bit of the score.

    The `half` bits below it are removed one by one, exactly, each by a small bootstrap. A single
    rounding bootstrap would be cheaper, but is wrong near 0 and near the ends of the range.
    """
    shifted = fhe.hint(score + 2**half, bit_width=half + 1)
    return fhe.bits(shifted)[half] - 1


def _centred(
    linear: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return weights centred around 0 in every column, and the subtracted constant per output."""
    centred = linear.copy()
    constants = np.zeros(len(linear), np.int64)
    for code in layout.codes:
        own = slice(code.first_state, code.first_state + code.n_states)
        block = linear[:, own]
        middle = np.rint((block.min(axis=1) + block.max(axis=1)) / 2).astype(np.int64)
        centred[:, own] -= middle[:, None]
        constants += middle
    return centred, constants


def input_rows(program: Program, layout: Layout) -> Bits:
    """Return rows that determine the width of every node: extremes, every column state, a sample.

    The score's own width is given by a hint. Rows whose linear part alone does not fit into it are
    omitted: that part wraps, which is harmless, since the whole score is proven to fit.
    """
    sample = sample_states(layout, _SAMPLE_ROWS, seed=0)
    for i, code in enumerate(layout.codes):
        for state in range(code.n_states):
            sample[(7 * i + state) % len(sample), i] = code.first_state + state
    rows = layout.bits_of_states(np.concatenate([program.extreme_rows, sample]))
    linear, constants = _centred(program.plan.linear, layout)
    whole = program.scores(rows)
    partial = linear.T[layout.states(rows)].sum(axis=1)
    looked_up = whole - constants - partial
    half = 1 << (program.score_bits - 1)
    inside = np.ones(len(rows), bool)
    for node in (partial, looked_up, partial + looked_up, whole):
        inside &= ((-half <= node) & (node < half)).all(axis=1)
    return rows[inside]


def compile_programs(programs: Sequence[Program], layout: Layout, sign_only: bool = False) -> Any:
    """Compile programs into one Concrete module, whose functions share one keyset.

    Returns an `FheModule` with a function for each program, by its name. All functions take the
    same ciphertexts: if one needs wider inputs, all are widened. Raises ProgramInvalid if no common
    width is found.
    """
    programs = [_with_bootstrap(p, layout) for p in programs]
    names = input_names(layout)
    inputsets = {
        p.name: [circuit_inputs(layout, row) for row in input_rows(p, layout)] for p in programs
    }
    configuration = fhe.Configuration(
        p_error=P_ERROR,
        loop_parallelize=True,
        compress_evaluation_keys=True,
        compress_input_ciphertexts=True,
        dump_artifacts_on_unexpected_failures=False,
    )
    cells = max(len(lookup.values) for p in programs for lookup in p.plan.lookups)
    if cells > _CELLS:
        raise ModelTooLarge(
            "A tree tests more than 4 columns for one leaf, which the engine concrete does not "
            "run; train with max_depth=4, or compile for levelled alone."
        )
    widest = max(p.score_bits for p in programs)
    for width in range(widest, widest + _WIDER):
        functions = [
            FunctionDef(
                circuit_function(p, layout, sign_only, width, (cells - 1).bit_length()),
                dict.fromkeys(names, "encrypted"),
            )
            for p in programs
        ]
        module = ModuleCompiler(functions, NotComposable()).compile(inputsets, configuration)
        circuits = json.loads(module.client.specs.serialize())["circuits"]
        if all(circuit["inputs"] == circuits[0]["inputs"] for circuit in circuits):
            return module
    raise ProgramInvalid(
        "Concrete encodes the inputs of decide and explain differently, so they cannot run on the "
        "same ciphertexts; train a smaller model."
    )


def _with_bootstrap(program: Program, layout: Layout) -> Program:
    """Return the program with at least one lookup, adding an identity lookup if it has none.

    Without any bootstrap Concrete 2.10 ignores the weights when it chooses parameters, and about
    half of all sums with large weights are then wrong by a unit or more.
    """
    if program.plan.lookups:
        return program
    outputs = tuple(range(len(program.outputs)))
    linear = program.plan.linear.copy()
    linear[:, sorted(layout.states_of_bit[0])] -= 1
    identity = Lookup(bits=(0,), weights=(1,), values=(0, 1), outputs=outputs)
    return replace(program, plan=Plan(linear, (identity,)))


def chosen_parameters(module: Any) -> dict[str, Any]:
    """Return Concrete's parameters: polynomial and key sizes, decomposition levels and bases."""
    keyset = module.client.specs.program_info.get_keyset_info()
    return {
        "bootstrap": [
            {
                "level": key.level(),
                "base_log": key.base_log(),
                "polynomial_size": key.polynomial_size(),
                "glwe_dimension": key.glwe_dimension(),
                "input_lwe_dimension": key.input_lwe_dimension(),
                "variance": key.variance(),
            }
            for key in keyset.bootstrap_keys()
        ],
        "keyswitch": [
            {"level": key.level(), "base_log": key.base_log(), "variance": key.variance()}
            for key in keyset.keyswitch_keys()
        ],
        "lwe_dimensions": [key.dimension() for key in keyset.secret_keys()],
        "p_error": P_ERROR,
    }


def bootstrap_level(module: Any) -> int:
    """Return the largest number of decomposition levels of a bootstrap key; 0 if there is none."""
    return max((key["level"] for key in chosen_parameters(module)["bootstrap"]), default=0)
