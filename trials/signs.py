"""`python -m trials.signs`: compare encrypted signs with the integer reference, many times.

Runs decisions and explanations of a compiled model to their signs, with all parties' steps in this
process: encrypted inputs, evaluation, masked opening, comparison, and opening of the signs. The
rows include scores -1, 0 and +1 and the extreme rows. Prints counts, noise, times and bytes;
returns 1 if a sign was wrong.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from engines.levelled.ceremony import WholeKey, pairwise_keys
from engines.levelled.comparison import combine_signs, rotated_bits, signs, table_cover
from engines.levelled.evaluation import Evaluator
from engines.levelled.masked_opening import masked_partial, masked_scores, rerandomise_for_masks
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.messages import NAME
from engines.levelled.opening import Result, partial, rerandomise
from engines.levelled.parameters import KNOWN_ZEROS, PROFILES, SEED_BYTES, WIDE_NOISE, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import SignBudgets, sign_budgets
from engines.levelled.words import Words
from features.encoding import Bits, Layout
from model.polynomial import sample_states
from model.program import Program
from settings import ROOT
from utils.terminal import print_any_text

Timed = dict[str, list[float]]
_MORE = 8
"""Coefficients whose noise is measured besides that of signs, if there is room."""


@dataclass
class SignRun:
    """All parties' and the server's steps from a program's evaluation to its signs.

    `milliseconds` collects the steps' times on a processor, `errors` the errors of the signs'
    phases, in units of the torus, before re-randomisation.
    """

    program: Program
    key: WholeKey
    budgets: SignBudgets
    milliseconds: Timed = field(default_factory=lambda: defaultdict(list))
    errors: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, program: Program, key: WholeKey) -> SignRun:
        """Return the run of a program under a key, with budgets for the key's parties."""
        trees = {name: SelectionTree.of(program)}
        return cls(program, key, sign_budgets(trees, len(key.secrets), key.parameters)[name])

    def __post_init__(self) -> None:
        self.tree = SelectionTree.of(self.program)
        self.outputs = self.tree.outputs
        self.format = MaskFormat.of(
            self.key.parameters, self.tree.score_bits, len(self.key.secrets)
        )
        self._evaluator = Evaluator(self.tree, self.key.parameters)
        self._pairwise = pairwise_keys(list(self.key.secrets))

    def evaluated(self, row: Bits) -> tuple[Words, Words]:
        """Encrypt a row of bits and evaluate the program; mask and body, (N,) each."""
        operands = self._evaluator.prepare(self.key.encrypted(row[self.tree.bits]))
        mask, body = self._evaluator.evaluate([operands])[0]
        return mask, body

    def approvals(self, mask: Words, body: Words) -> NDArray[np.bool_]:
        """Open the signs of an evaluation's outcome, shape (outputs,)."""
        key, parameters, fresh = self.key, self.key.parameters, Expander.fresh
        words = {party: draw_words(self.outputs, fresh()) for party in key.secrets}
        sent = {
            party: self._timed(
                "a party's masks", encrypt_masks, own, key.public, self.format, fresh()
            )
            for party, own in words.items()
        }
        first = rerandomise_for_masks(
            mask,
            body,
            self.outputs + KNOWN_ZEROS,
            self.budgets.zeros.sigma_flood,
            key.public,
            parameters,
            fresh(),
        )
        smudge, digest = self.budgets.zeros.sigma_smudge, os.urandom(SEED_BYTES)
        parts = {
            p: masked_partial(
                first, digest, p, key.public, secret, words[p], smudge, self._pairwise[p]
            )
            for p, secret in key.secrets.items()
        }
        y = masked_scores(first, parts)
        mask, body = self._timed("comparison", self._compared, y, sent)
        self._measure(mask, body)
        second = rerandomise(
            mask,
            body,
            self.outputs,
            self.budgets.signs.sigma_flood,
            key.public,
            parameters,
            fresh(),
        )
        none = np.zeros_like(mask)
        zeros = rerandomise(none, none, KNOWN_ZEROS, 0.0, key.public, parameters, fresh())
        results = [second, zeros]
        return combine_signs(results, [self._shares(result) for result in results])

    def _shares(self, result: Result) -> dict[str, bytes]:
        """Return all parties' shares of a part of a result of signs."""
        smudge, digest = self.budgets.signs.sigma_smudge, os.urandom(SEED_BYTES)
        return {
            p: partial(result, digest, p, self.key.public, secret, smudge, self._pairwise[p])
            for p, secret in self.key.secrets.items()
        }

    def _compared(self, y: Words, sent: dict[str, bytes]) -> tuple[Words, Words]:
        """Compute the signs from the parties' messages, as the server does."""
        decoded = [
            decode_masks(part, self.key.public, self.format, self.outputs) for part in sent.values()
        ]
        cover = table_cover(self.key.public, os.urandom(SEED_BYTES), self.outputs)
        return signs(y, decoded, self.format, cover)

    def _timed(self, step: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        result = function(*arguments)
        self.milliseconds[step].append(1000 * (time.thread_time() - began))
        return result

    def _measure(self, mask: Words, body: Words) -> None:
        # After the signs, coefficients are 0 up to the next value of the table.
        kept = rotated_bits(len(body), self.outputs, self.format.word_bits)
        count = min(self.outputs + _MORE, 2 * len(body) >> kept)
        errors = np.abs(self.key.phase(mask, body)[:count].view(np.int64) * 2.0**-64)
        errors[: self.outputs] -= 1 / 4
        self.errors.extend(errors)


def rows_near_the_border(program: Program, layout: Layout, seed: int = 7) -> Bits:
    """Return the extreme rows, and rows with scores -1, 0 and +1 in some output, if there are any.

    They are searched among 20,000 random rows.
    """
    random = layout.bits_of_states(sample_states(layout, 20_000, seed=seed))
    scores = program.scores(random)
    found = [np.flatnonzero((scores == wanted).any(axis=1))[:5] for wanted in (-1, 0, 1)]
    extremes = layout.bits_of_states(program.extreme_rows)
    return np.concatenate([extremes, random[np.concatenate(found)]])


def report(name: str, run: SignRun, rows: Bits) -> int:
    """Run all rows, print the figures, and return the number of wrong signs."""
    expected = run.program.scores(rows)
    wrong = sum(
        int((run.approvals(*run.evaluated(row)) != (scores >= 0)).sum())
        for row, scores in zip(rows, expected, strict=True)
    )
    border = {s: int((expected == s).sum()) for s in (-1, 0, 1)}
    measured = math.sqrt(float(np.mean(np.square(run.errors))))
    print(f"{name}, profile {run.key.parameters.profile}, {len(run.key.secrets)} parties:")
    print(
        f"  {expected.size} signs of {len(rows)} rows, {wrong} wrong; "
        f"{int((expected >= 0).sum())} approved; scores {expected.min()} to {expected.max()}; "
        f"at -1, 0, +1: {border}"
    )
    print(
        f"  noise of a sign 2^{math.log2(measured):.2f}, model "
        f"2^{math.log2(run.budgets.signs.sigma_program):.2f}, largest "
        f"2^{math.log2(np.abs(run.errors).max()):.2f}; room {run.budgets.signs.room:.2f} bits; "
        f"a sign turns with 2^{run.budgets.border_log2:.0f}"
    )
    print(f"  {run.format.mask_bytes(run.outputs):,} bytes of masks a party")
    for step, times in run.milliseconds.items():
        low, middle, high = np.percentile(times, [5, 50, 95])
        print(f"  {step}: median {middle:.1f} ms of a processor, 5 % {low:.1f}, 95 % {high:.1f}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report of both programs; returns 1 if a sign was wrong."""
    print_any_text()
    parser = CommandParser(prog="trials.signs", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "deployment_files",
        help="folder of the compiled model",
    )
    parser.add_argument("--decisions", type=int, default=1000, help="number of decisions")
    parser.add_argument("--explanations", type=int, default=200, help="number of explanations")
    parser.add_argument(
        "--profile", default=WIDE_NOISE.profile, choices=PROFILES, help="profile of the parameters"
    )
    given = parser.parse_args(arguments)
    deployment = Deployment.load(given.folder)
    parameters = Parameters.by_profile(given.profile)
    key = WholeKey.make(deployment.schema.party_names, parameters)
    wrong = 0
    for name, count in ((DECIDE, given.decisions), (EXPLAIN, given.explanations)):
        program, layout = deployment.programs_of(NAME)[name], deployment.layout
        near = rows_near_the_border(program, layout)
        random = layout.bits_of_states(sample_states(layout, count, seed=11))
        rows = np.concatenate([near, random])[:count]
        wrong += report(name, SignRun.of(name, program, key), rows)
    return int(wrong > 0)


if __name__ == "__main__":
    run_command(main)
