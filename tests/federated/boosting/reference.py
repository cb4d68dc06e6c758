"""Boosting over pooled rows by plain loops and fractions: slow, simple, and independent.

It shares no code with federated/boosting: probabilities come from decimals of 50 digits, sums and
gains are exact fractions, and a row is a dictionary.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds fractions half to even


def probability(margin: int) -> Fraction:
    with localcontext() as context:
        context.prec = 50
        return Fraction(1 / (1 + (Decimal(-margin) / 2**20).exp()))


class Row:
    def __init__(self, bits, outcome: int) -> None:
        self.bits, self.outcome, self.margin = bits, outcome, 0

    def gradient(self) -> tuple[int, int]:
        p = probability(self.margin)
        return half_even((p - self.outcome) * 2**30), half_even(p * (1 - p) * 2**30)


def grow(plan, usable, rows, levels):
    """Return (root, {node: (bit, left, right)}) of one tree over `rows`."""
    lam, rate = Fraction(plan.reg_lambda), Fraction(plan.learning_rate)
    least = max(Fraction(plan.min_child_weight), Fraction(plan.least_rows, 4))
    scale = 2**30

    def sums(own):
        pairs = [gradients[id(row)] for row in own]
        return Fraction(sum(g for g, _ in pairs), scale), Fraction(sum(h for _, h in pairs), scale)

    def clip(weight, bounds):
        low, high = bounds
        if low is not None and weight < low:
            return low
        return high if high is not None and weight > high else weight

    def loss(g, h, weight):
        return -(2 * g * weight + (h + lam) * weight * weight)

    gradients = {id(row): row.gradient() for row in rows}
    g, h = sums(rows)
    root = half_even(-g / (h + lam) * rate * 2**20) if h >= least else 0
    open_nodes, tree = {0: (rows, (None, None))}, {}
    for _ in range(levels):
        following = {}
        for node, (own, bounds) in open_nodes.items():
            g, h = sums(own)
            best = None
            for bit in usable:
                sides = [[row for row in own if row.bits[bit] == value] for value in (0, 1)]
                (gl, hl), (gr, hr) = map(sums, sides)
                if hl < least or hr < least:
                    continue
                left, right = clip(-gl / (hl + lam), bounds), clip(-gr / (hr + lam), bounds)
                if bit in plan.monotone and left > right:
                    continue
                gain = loss(gl, hl, left) + loss(gr, hr, right)
                gain -= loss(g, h, clip(-g / (h + lam), bounds))
                if best is None or gain > best[0]:
                    best = gain, bit, left, right, sides
            if best is None or best[0] <= Fraction(1e-6) or best[0] < Fraction(plan.gamma):
                continue
            _, bit, left, right, sides = best
            tree[node] = bit, half_even(left * rate * 2**20), half_even(right * rate * 2**20)
            low, high = bounds
            both = [bounds, bounds]
            if bit in plan.monotone:
                both = [(low, (left + right) / 2), ((left + right) / 2, high)]
            for side in (0, 1):
                following[2 * node + 1 + side] = sides[side], both[side]
        open_nodes = following
    return root, tree


def follow(tree, row) -> int:
    """Return the leaf that a row reaches."""
    root, splits = tree
    node, value = 0, root
    while node in splits:
        bit, *leaves = splits[node]
        value = leaves[row.bits[bit]]
        node = 2 * node + 1 + row.bits[bit]
    return value


def train(plan, usable, lenders, record):
    """Return the trees; `lenders` maps names to rows, `record` lists (names, levels) by tree."""
    trees = []
    for names, levels in record:
        tree = grow(plan, usable, [row for name in names for row in lenders[name]], levels)
        for rows in lenders.values():
            for row in rows:
                row.margin += follow(tree, row)
        trees.append(tree)
    return trees


def pair_auc(rows) -> float:
    """Return the AUC by comparing all pairs of rows, in bins of 1/8 of the margin."""
    bins = [(min(max(row.margin, -8 * 2**20), 8 * 2**20 - 1) // 2**17, row.outcome) for row in rows]
    zeros = [b for b, outcome in bins if outcome == 0]
    ones = [b for b, outcome in bins if outcome == 1]
    won = sum((b > a) + Fraction(1, 2) * (b == a) for a in zeros for b in ones)
    return float(won / (len(zeros) * len(ones)))
