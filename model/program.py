"""The integer program that engines run, stored as one JSON file.

A program contains the polynomial, its plan for engines with table lookups, the meaning of its
outputs, its score width, and rows with extreme scores. `decide` has one output, or with a grey zone
a second one, the score plus the zone's width (referral.py). `explain` is the score of `decide` with
the explained column's bits replaced by public constants, with one output per bin, so that both
agree exactly. `reasons` (reasons_program.py) has one output per stated reason.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from features.variations import Variation, explained_labels, tried, variations
from model.cover import MOST_CELLS
from model.levels import valid_edges
from model.plan import Lookup, Plan, make_plan
from model.polynomial import Polynomial, evaluate, sample_states, substitute
from model.quantise import MAXIMUM_SCORE_BITS, Quantised
from model.referral import with_referral
from utils.errors import ProgramInvalid

FORMAT = 1
MAXIMUM_BYTES = 64 << 20
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Program:
    """A program; `outputs` labels its scores, and a score of 0 or more means approved.

    All scores are in the signed range of `score_bits` bits; for every input
    |score + 1/2 - scale * log-odds| <= rounding_bound. `extreme_rows` (rows, columns) are states
    whose scores come closest to the bounds `low` and `high`. The scores of `reasons` are points,
    with another bound (reasons_program.py), and `edges` divide them into levels (levels.py).
    """

    name: str
    schema_fingerprint: str
    outputs: tuple[str, ...]
    score_bits: int
    scale: float
    rounding_bound: float
    low: int
    high: int
    polynomial: Polynomial
    plan: Plan
    extreme_rows: NDArray[np.int64]
    edges: tuple[int, ...] = ()

    def scores(self, bits: Bits) -> NDArray[np.int64]:
        """Return the exact scores: shape (rows, n_bits) to (rows, outputs)."""
        return evaluate(self.polynomial, bits, len(self.outputs))

    @property
    def score_polynomial(self) -> Polynomial:
        """The polynomial of the first output alone, which for `decide` is the score."""
        if len(self.outputs) == 1:
            return self.polynomial
        return {m: c[:1] for m, c in self.polynomial.items() if c[0]}

    def to_json(self) -> str:
        """Return canonical JSON: equal programs give equal text."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "schema": self.schema_fingerprint,
            "outputs": list(self.outputs),
            "score_bits": self.score_bits,
            "scale": self.scale,
            "rounding_bound": self.rounding_bound,
            "low": self.low,
            "high": self.high,
            "monomials": [[list(m), self.polynomial[m].tolist()] for m in sorted(self.polynomial)],
            "linear": self.plan.linear.tolist(),
            "lookups": [
                {"bits": t.bits, "weights": t.weights, "values": t.values, "outputs": t.outputs}
                for t in self.plan.lookups
            ],
            "extreme_rows": self.extreme_rows.tolist(),
        }
        if self.edges:
            document["edges"] = list(self.edges)
        return json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"

    def digest(self) -> str:
        """Return the SHA-256 of the file's text, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def load(cls, path: Path, layout: Layout) -> Program:
        """Read a program file and check its consistency; raises ProgramInvalid."""
        try:
            if path.stat().st_size > MAXIMUM_BYTES:
                raise ProgramInvalid(f"{path} is larger than {MAXIMUM_BYTES >> 20} MiB.")
            program = cls._parse(json.loads(path.read_text(encoding="utf-8")))
        except _UNREADABLE as error:
            raise ProgramInvalid(
                f"{path} is not a program file ({error!r}); run `make compile` again."
            ) from error
        program.check(layout)
        return program

    @classmethod
    def _parse(cls, document: dict[str, Any]) -> Program:
        if document["format"] != FORMAT:
            raise ProgramInvalid(
                f"The program has format {document['format']}, this version reads {FORMAT}; "
                "run `make compile` again."
            )
        lookups = tuple(
            Lookup(*(tuple(int(v) for v in t[k]) for k in ("bits", "weights", "values", "outputs")))
            for t in document["lookups"]
        )
        return cls(
            name=str(document["name"]),
            schema_fingerprint=str(document["schema"]),
            outputs=tuple(str(label) for label in document["outputs"]),
            score_bits=int(document["score_bits"]),
            scale=float(document["scale"]),
            rounding_bound=float(document["rounding_bound"]),
            low=int(document["low"]),
            high=int(document["high"]),
            polynomial={
                tuple(int(b) for b in m): np.array(c, np.int64) for m, c in document["monomials"]
            },
            plan=Plan(np.array(document["linear"], np.int64), lookups),
            extreme_rows=np.array(document["extreme_rows"], np.int64),
            edges=tuple(int(edge) for edge in document.get("edges", ())),
        )

    def check(self, layout: Layout) -> None:
        """Check shapes and ranges, and that plan and polynomial agree; raises ProgramInvalid.

        Scores are compared on rows that reveal any single change; the manifest's digest covers
        the rest.
        """
        n, outputs = layout.n_bits, len(self.outputs)
        faults = []
        if self.schema_fingerprint != layout.schema.fingerprint():
            faults.append("it belongs to another schema")
        half = 2.0 ** (self.score_bits - 1) if 2 <= self.score_bits <= MAXIMUM_SCORE_BITS else 0
        if not half:
            faults.append(f"score_bits is {self.score_bits}")
        elif not -half <= self.low <= self.high < half:
            faults.append("the scores do not fit into score_bits")
        if self.edges and half and not valid_edges(self.edges, self.score_bits, outputs):
            faults.append("the edges of its levels do not fit")
        if not (0 < self.scale < math.inf and 0 <= self.rounding_bound < math.inf):
            faults.append("the scale or the rounding bound is out of range")
        if any(
            c.shape != (outputs,) or not all(0 <= b < n for b in m)
            for m, c in self.polynomial.items()
        ):
            faults.append("a monomial has a wrong bit or a wrong number of coefficients")
        if self.plan.linear.shape != (outputs, layout.n_states):
            faults.append("the linear part has a wrong shape")
        first = np.array([code.first_state for code in layout.codes])
        states = np.array([code.n_states for code in layout.codes])
        if self.extreme_rows.ndim != 2 or self.extreme_rows.shape[1] != len(layout.codes):
            faults.append("the extreme rows have a wrong shape")
        elif not ((first <= self.extreme_rows) & (self.extreme_rows < first + states)).all():
            faults.append("the extreme rows hold a state that does not exist")
        for t in self.plan.lookups:
            if not t.bits or len(t.bits) != len(t.weights) or not all(0 <= b < n for b in t.bits):
                faults.append("a lookup has a wrong bit")
            elif len(t.values) > MOST_CELLS or not all(0 <= o < outputs for o in t.outputs):
                faults.append("a lookup has a wrong table or output")
            else:
                reach = _reach(t, layout).values()
                low, high = sum(r.min() for r in reach), sum(r.max() for r in reach)
                cells = math.prod(len(set(r.tolist())) for r in reach)
                if low < 0 or high >= len(t.values) or cells > MOST_CELLS:
                    faults.append("a lookup reaches beyond its table")
        if not faults:
            faults = self._disagreements(layout)
        if faults:
            raise ProgramInvalid(
                f"Program {self.name}: {'; '.join(faults)}. Run `make compile` again."
            )

    def _disagreements(self, layout: Layout) -> list[str]:
        bits = layout.bits_of_states(np.concatenate([self.extreme_rows, self._rows(layout)]))
        scores = self.scores(bits)
        faults = []
        if (self.plan.evaluate(bits, layout) != scores).any():
            faults.append("plan and polynomial differ")
        if (scores < self.low).any() or (scores > self.high).any():
            faults.append("a score lies beyond the bounds")
        return faults

    def _rows(self, layout: Layout) -> NDArray[np.int64]:
        """Return states that cover every column state, every monomial and every table cell."""
        columns = {code.first_bit: i for i, code in enumerate(layout.codes)}
        wanted: list[dict[int, int]] = []  # column -> state
        for i, code in enumerate(layout.codes):
            wanted += [{i: code.first_state + state} for state in range(code.n_states)]
        for monomial in self.polynomial:
            holding = {b: min(layout.states_of_bit[b]) for b in monomial}
            wanted.append({columns[layout.code_of_bit[b].first_bit]: s for b, s in holding.items()})
        for lookup in self.plan.lookups:
            reach = _reach(lookup, layout)
            own = [columns[column] for column in reach]
            states = [
                layout.codes[i].first_state + np.unique(r, return_index=True)[1]
                for i, r in zip(own, reach.values(), strict=True)
            ]
            wanted += [dict(zip(own, cell, strict=True)) for cell in itertools.product(*states)]
        rows = sample_states(layout, len(wanted), seed=1)
        for row, setting in zip(rows, wanted, strict=True):
            row[list(setting)] = list(setting.values())
        return rows


def _reach(lookup: Lookup, layout: Layout) -> dict[int, NDArray[np.int64]]:
    """Return each state's contribution to the cell index, by its column's first bit."""
    reach: dict[int, NDArray[np.int64]] = {}
    for bit, weight in zip(lookup.bits, lookup.weights, strict=True):
        code = layout.code_of_bit[bit]
        own = weight * code.table[:, bit - code.first_bit].astype(np.int64)
        reach[code.first_bit] = reach.get(code.first_bit, 0) + own
    return reach


def explained_variants(layout: Layout) -> list[dict[int, bool]]:
    """Return, for each output of an explanation, the bits that it fixes, by their position.

    Each output fixes the bits of the columns that it varies, and those of their assumptions.
    """
    varied = {one.column.name: one for one in variations(layout.schema)}
    return [
        {
            bit: value
            for name, index in changes
            for bit, value in _fixed(varied[name], index, layout).items()
        }
        for changes in tried(layout.schema)
    ]


def _fixed(varied: Variation, index: int, layout: Layout) -> dict[int, bool]:
    """Return the bits of a column in its bin number `index`, and of its assumptions."""
    states = {name: layout.code(name).state(value) for name, value in varied.assume.items()}
    states[varied.column.name] = varied.bins[index]
    return {
        code.first_bit + i: bool(bit)
        for code, state in ((layout.code(name), state) for name, state in states.items())
        for i, bit in enumerate(code.table[state])
    }


def decide_program(quantised: Quantised, layout: Layout) -> Program:
    """Return the program whose output is the score of the record.

    With a grey zone, the second output is the score plus the zone's width.
    """
    grey, polynomial, plan = quantised.grey, quantised.polynomial, quantised.plan
    if grey:
        polynomial = with_referral(polynomial, grey)
        plan = make_plan(polynomial, 2, layout)
    return Program(
        name="decide",
        schema_fingerprint=layout.schema.fingerprint(),
        outputs=("score", "score with the grey zone") if grey else ("score",),
        score_bits=quantised.score_bits,
        scale=quantised.scale,
        rounding_bound=quantised.rounding_bound,
        low=quantised.extremes.low,
        high=quantised.extremes.high + grey,
        polynomial=polynomial,
        plan=plan,
        extreme_rows=quantised.extremes.rows,
    )


def explain_program(decide: Program, layout: Layout) -> Program:
    """Return the counterfactual program: the score for each value that the explanation tries."""
    polynomial = substitute(decide.score_polynomial, explained_variants(layout))
    labels = explained_labels(layout.schema)
    return Program(
        name="explain",
        schema_fingerprint=decide.schema_fingerprint,
        outputs=labels,
        score_bits=decide.score_bits,
        scale=decide.scale,
        rounding_bound=decide.rounding_bound,
        low=decide.low,
        high=decide.high,
        polynomial=polynomial,
        plan=make_plan(polynomial, len(labels), layout),
        extreme_rows=decide.extreme_rows,
    )
