"""Measured noise of the levelled engine against the model that chooses and guards its parameters.

Needs the sum of all secrets, which exists in no application (engines/levelled/ceremony.py).
Standard deviations are in units of the torus, as log2. Coefficients of a result without a score
have the same noise as those with one, so that every evaluation gives N samples.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from engines.interface import REASONS
from engines.levelled.budgets import linear_row, noise_budgets
from engines.levelled.ceremony import WholeKey, pairwise_keys
from engines.levelled.encryption import encrypt_bits, zeros
from engines.levelled.evaluation import Evaluator
from engines.levelled.noise import NoiseBudget, NoiseModel
from engines.levelled.opening import partial, rerandomise
from engines.levelled.parameters import DIGEST_BYTES, KNOWN_ZEROS, MODULUS_BITS, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import decompose, forward, inverse
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import sign_budgets
from engines.levelled.words import Words, sum_of_words
from features.encoding import Bits
from model.horner import Nested, nest
from model.program import Program
from training.measure.sign_noise import sign_noise

_ZEROS = 64
_PRODUCTS = 16


def noise_table(
    programs: Mapping[str, Program],
    parties: list[str],
    parameters: Parameters,
    applicants: Bits,
    openings: int,
) -> list[dict[str, Any]]:
    """Return one row per kind of noise; `applicants` (rows, n_bits) are evaluated and opened.

    Each is opened `openings` times, as scores; as many comparisons are made and opened as signs. A
    deployment opens one or the other. `model_log2` of a program is for these applicants;
    `bound_log2` is the guard's bound for any applicant.
    """
    key, model = WholeKey.make(parties, parameters), NoiseModel(parameters, len(parties))
    table = [
        _line("public-key zero", _zero_noise(key), model.public_key_zero_variance()),
        _line("cut of the words", _cut_noise(key), model.cut_variance()),
        _line("external product", _product_noise(key), model.external_product_variance()),
    ]
    trees = {name: SelectionTree.of(program) for name, program in programs.items()}
    budgets = noise_budgets(trees, len(parties), parameters)
    for name in programs:
        evaluator = Evaluator(trees[name], parameters)
        errors, opened, variances = [], [], []
        for bits in applicants:
            ((mask, body),) = evaluator.evaluate(
                [evaluator.prepare(key.encrypted(bits).at(trees[name].bits))]
            )
            message = _message(programs[name], bits, parameters)
            errors.append(key.phase(mask, body) - message)
            variances.append(program_variance(programs[name], bits, model))
            for _ in range(openings):
                opened.append(_opened_noise(key, mask, body, message, budgets[name], trees[name]))
        variance, budget = float(np.mean(variances)), budgets[name]
        covered = variance + model.public_key_zero_variance() + budget.sigma_flood**2
        covered += len(parties) * budget.sigma_smudge**2
        table.append(_line(name, errors, variance, budget.sigma_program**2))
        table.append(_line(f"{name}, opened", opened, covered, _bound(model, budget)))
    compared = sign_budgets(trees, len(parties), parameters)
    for name in programs:
        outputs, own = trees[name].outputs, compared[name]
        errors, opened = sign_noise(
            key, trees[name].score_bits, outputs, own, len(applicants), openings
        )
        variance = own.signs.sigma_program**2
        values = "levels" if name == REASONS else "signs"
        table.append(_line(f"{name}, {values}", errors, variance, variance))
        bound = _bound(model, own.signs)
        table.append(_line(f"{name}, {values} opened", opened, bound, bound))
    return table


def _line(
    name: str, errors: Iterable[Words], variance: float, bound: float | None = None
) -> dict[str, Any]:
    """Return the measured and the expected standard deviation; errors are centred words."""
    samples = np.concatenate([e.view(np.int64).reshape(-1) for e in errors]).astype(np.float64)
    measured = math.log2(math.sqrt(np.mean(samples**2))) - MODULUS_BITS
    expected = math.log2(variance) / 2
    return {
        "noise": name,
        "samples": len(samples),
        "measured_log2": measured,
        "model_log2": expected,
        "difference_bits": measured - expected,
        "bound_log2": None if bound is None else math.log2(bound) / 2,
    }


def _bound(model: NoiseModel, budget: NoiseBudget) -> float:
    """Return the guard's variance of an opened result, without its reserve."""
    covers = budget.sigma_flood**2 + model.parties * budget.sigma_smudge**2
    return budget.sigma_program**2 + model.public_key_zero_variance() + covers


def _zero_noise(key: WholeKey) -> list[Words]:
    masks, bodies = zeros(key.public, _ZEROS, key.parameters, Expander.fresh())
    return [key.phase(mask, body) for mask, body in zip(masks, bodies, strict=True)]


def _cut_noise(key: WholeKey) -> list[Words]:
    bits = np.ones(_ZEROS // key.parameters.rows, np.uint8)
    whole = encrypt_bits(bits, key.public, key.parameters, Expander.fresh())
    cut = whole.cut(key.parameters)
    masks, bodies = cut.masks - whole.masks, cut.bodies - whole.bodies
    rows = zip(
        masks.reshape(-1, key.parameters.n), bodies.reshape(-1, key.parameters.n), strict=True
    )
    return [key.phase(mask, body) for mask, body in rows]


def _product_noise(key: WholeKey) -> list[Words]:
    """Multiply random ciphertexts by encrypted ones; returns the changes of their phases."""
    parameters = key.parameters
    rows = key.encrypted(np.ones(_PRODUCTS, np.uint8)).transform()
    factors = Expander.fresh().uniform_words((_PRODUCTS, 2, parameters.n))
    digits = decompose(factors, parameters.base_log, parameters.levels)
    values = forward(digits.reshape(_PRODUCTS, parameters.rows, 1, parameters.n))
    products = inverse(np.add.reduce(rows * values, axis=1))
    return [
        key.phase(*product) - key.phase(*factor)
        for product, factor in zip(products, factors, strict=True)
    ]


def _message(program: Program, bits: Bits, parameters: Parameters) -> Words:
    """Return the noise-free phase of a result for these bits, shape (N,)."""
    message = np.zeros(parameters.n, np.uint64)
    scores = program.scores(bits[None, :])[0].view(np.uint64)
    message[: len(scores)] = scores << np.uint64(MODULUS_BITS - program.score_bits)
    return message


def _opened_noise(
    key: WholeKey,
    mask: Words,
    body: Words,
    message: Words,
    budget: NoiseBudget,
    tree: SelectionTree,
) -> Words:
    """Return the noise of the opened coefficients (scores and known zeros), by the real opening."""
    count, fresh = tree.outputs + KNOWN_ZEROS, Expander.fresh()
    result = rerandomise(mask, body, count, budget.sigma_flood, key.public, key.parameters, fresh)
    digest = os.urandom(DIGEST_BYTES)  # a different result each time
    pairwise = pairwise_keys(list(key.secrets))
    parts = {
        party: partial(
            result, digest, party, key.public, secret, budget.sigma_smudge, pairwise[party]
        )
        for party, secret in key.secrets.items()
    }
    opened = len(result.bodies)
    return result.bodies - sum_of_words(parts, opened) - message[:opened]


def program_variance(program: Program, bits: Bits, model: NoiseModel) -> float:
    """Return the model's variance of a program's noise for these bits, shape (n_bits,).

    Like the bound for any input, but only selected terms count: a bit of 0 multiplies everything
    below it by 0, including the noise.
    """
    _, factor = linear_row(program.score_bits, model.parameters)
    products = 0
    sums: defaultdict[int, Any] = defaultdict(lambda: np.zeros(len(program.outputs), np.int64))

    def walk(node: Nested) -> None:
        nonlocal products
        products += len(node.products)
        for bit, coefficients in node.linear:
            sums[bit] += coefficients
        for bit, inner in node.products:
            if bits[bit]:
                walk(inner)

    walk(nest(program.polynomial))
    squares = sum(int((own * factor) @ (own * factor)) for own in sums.values())
    return model.program_variance(products, squares)
