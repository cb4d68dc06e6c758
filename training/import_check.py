"""Check of a booster and its programs against the XGBoost library; a difference fails the import.

The rows cover the whole domain of the schema: random ones, every state of every column, one for
every leaf of every tree, the proven extremes of the program, and rows of the training data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.booster import Ensemble, parse_booster
from model.booster_header import decode_booster, read_header
from model.polynomial import sample_states
from model.program import Program
from training.library import VERSION, LibraryModel
from utils.errors import UnsupportedBooster

_RANDOM_ROWS = 4096
_TRAINING_ROWS = 4096


class ImportCheck:
    """Compares the booster in `data` with the library; raises UnsupportedBooster if they differ."""

    def __init__(self, data: bytes, layout: Layout, training: Bits) -> None:
        header = read_header(decode_booster(data))
        self._version, self._trees, self._used = header.version_text, header.trees, header.used
        self._layout = layout
        self._ensemble = parse_booster(data, layout)
        self._library = LibraryModel(data, layout.schema)
        self._bits = np.concatenate(
            [domain_rows(layout, self._ensemble), training[:_TRAINING_ROWS]]
        )
        self._margins, self._tolerance = self._compared(self._bits)
        self._shares: dict[int, float] = {}  # by width of the score

    def summary(self) -> str:
        """Return a few sentences on the comparison and its result."""
        trees = (
            f"all {self._trees} trees"
            if self._used == self._trees
            else f"{self._used} of its {self._trees} trees (early stopping)"
        )
        shares = "; ".join(
            f"scores of {width} bits give the same decision on {share:.2%} of them and are within "
            "the rounding bound on the others"
            for width, share in sorted(self._shares.items())
        )
        return (
            f"The booster, written by XGBoost {self._version}, uses {trees}. Its log-odds "
            f"and decisions equal those of XGBoost {VERSION} on {len(self._bits)} rows over the "
            f"whole domain of the schema{': ' + shares if shares else ''}."
        )

    def _compared(self, bits: Bits) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the library's log-odds and the allowed difference, both of shape (rows,)."""
        ensemble = self._ensemble
        values = ensemble.leaf_values(bits)
        ours = ensemble.base_margin + values.sum(axis=1)
        # XGBoost adds in single precision: an error of half a unit in the last place per
        # addition, and of a few units for the logarithm of the base score. Of a base score near 1,
        # the logarithm magnifies the error of the quotient 1 / base score.
        size = abs(ensemble.base_margin) + np.abs(values).sum(axis=1)
        half = np.finfo(np.float32).eps / 2
        tolerance = (len(ensemble.trees) + 8) * half * (1 + size)
        tolerance += half * np.exp(ensemble.base_margin)
        theirs = self._library.log_odds(bits)
        differ = np.abs(ours - theirs) > tolerance
        if differ.any():
            decisions = int(((ours > 0) != (theirs > 0))[differ].sum())
            raise UnsupportedBooster(
                f"Read as {self._used} of {self._trees} trees, the booster gives other log-odds "
                f"than XGBoost {VERSION} on {int(differ.sum())} of {len(bits)} rows, and other "
                f"decisions on {decisions} of them. XGBoost {self._version} wrote it; save it "
                f"again with XGBoost {VERSION} by save_model('….json')."
            )
        return theirs, tolerance

    def check_program(self, program: Program) -> None:
        """Compare a program's decisions with the library's; raises UnsupportedBooster.

        Integer scores round the log-odds, so decisions may differ only within the rounding bound
        that the program states.
        """
        extremes = self._layout.bits_of_states(program.extreme_rows)
        margins, tolerance = self._compared(extremes)
        bits = np.concatenate([self._bits, extremes])
        margins = np.concatenate([self._margins, margins])
        tolerance = np.concatenate([self._tolerance, tolerance])
        scores = program.scores(bits)[:, 0]
        off = np.abs(scores + 0.5 - program.scale * margins)
        wrong = off > program.rounding_bound + program.scale * tolerance + 1e-6
        same = (scores >= 0) == (margins > 0)
        if wrong.any():
            raise UnsupportedBooster(
                f"Program {program.name} with scores of {program.score_bits} bits differs from "
                f"XGBoost {VERSION} by more than its rounding bound on {int(wrong.sum())} of "
                f"{len(bits)} rows, and decides differently on {int((wrong & ~same).sum())} of "
                "them. This is a bug in the compiler; please report it with the booster."
            )
        self._shares[program.score_bits] = float(same.mean())


def domain_rows(layout: Layout, ensemble: Ensemble) -> Bits:
    """Return rows over the whole domain: random, every state of a column, every reachable leaf.

    The rows are the same for the same booster.
    """
    wanted: list[dict[int, int]] = [
        {i: code.first_state + state}
        for i, code in enumerate(layout.codes)
        for state in range(code.n_states)
    ]
    for tree in ensemble.trees:
        found = (_states_of_path(leaf.path, layout) for leaf in tree.leaves)
        wanted += [states for states in found if states is not None]
    rows = sample_states(layout, _RANDOM_ROWS + len(wanted), seed=9)
    for row, states in zip(rows, wanted, strict=False):
        row[list(states)] = list(states.values())
    return layout.bits_of_states(rows)


def _states_of_path(path: tuple[tuple[int, bool], ...], layout: Layout) -> dict[int, int] | None:
    """Return a state for each column of a path, by column index; None if no row takes the path."""
    states: dict[int, int] = {}
    for i, code in enumerate(layout.codes):
        own = [(b - code.first_bit, w) for b, w in path if 0 <= b - code.first_bit < code.n_bits]
        if own:
            fits = [s for s in range(code.n_states) if all(code.table[s, b] == w for b, w in own)]
            if not fits:
                return None
            states[i] = code.first_state + fits[0]
    return states
