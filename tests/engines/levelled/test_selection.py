"""The selection tree, evaluated on plain integers: its scores, size and noise bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from engines.levelled.selection import SelectionTree
from model.horner import external_products, nest
from model.polynomial import sample_states
from model.program import Program
from tests.strategies import QUICK, layouts, polynomials


def program_with(layout, polynomial, outputs):
    """Return a program with only the attributes that the tree uses."""
    labels = tuple(f"output {k}" for k in range(outputs))
    return Program(
        DECIDE, "", labels, 12, 1.0, 0.0, 0, 0, polynomial, None, np.zeros((0, 0), np.int64)
    )


def steps_of(tree, bits):
    """Return each term's polynomial at a row of bits: bit * (X^t + ... + X^(outputs - 1))."""
    values = np.zeros((len(tree.steps), tree.outputs), np.int64)
    for i, (bit, t) in enumerate(tree.steps):
        values[i, t:] = bits[tree.bits[bit]]
    return values


def walked(tree, bits):
    """Return the outputs at one row of bits, and the value of every node before its selection."""
    linear = tree.linear.toarray().view(np.int64)
    nodes = linear @ steps_of(tree, bits) + tree.constants
    for level in tree.levels:
        for j, node in enumerate(range(level.first, level.stop)):
            for i in range(level.start[j], level.start[j + 1]):
                selected = bits[tree.bits[tree.selecting[level.bit[i]]]]
                nodes[node] += int(selected) * nodes[level.child[i]]
    return nodes[-1]


@QUICK
@given(st.data())
def test_tree_gives_program_scores_with_counted_products(data):
    layout = data.draw(layouts())
    outputs = data.draw(st.integers(1, 4))
    program = program_with(layout, data.draw(polynomials(layout, outputs)), outputs)
    tree = SelectionTree.of(program)
    bits = layout.bits_of_states(sample_states(layout, 5, seed=2))
    for row, expected in zip(bits, program.scores(bits), strict=True):
        assert (walked(tree, row) == expected).all()
    assert tree.products == external_products(program.polynomial)
    assert sorted(set(tree.bits)) == tree.bits.tolist()
    assert set(tree.bits) == {bit for monomial in program.polynomial for bit in monomial}


@pytest.mark.parametrize("name", PROGRAMS)
def test_tree_of_trained_program_is_ordered_by_height(small_programs, name):
    program = small_programs[name]
    tree = SelectionTree.of(program)
    assert tree.products == external_products(program.polynomial) > 0
    assert tree.nodes == tree.products + 1  # every node but the result is selected once
    children = np.concatenate([level.child for level in tree.levels])
    assert sorted(children) == list(range(tree.nodes - 1))
    for level in tree.levels:
        assert (level.child < level.first).all()
        assert level.start[-1] == len(level.child) == len(level.bit)
    firsts = [level.first for level in tree.levels]
    assert [level.stop for level in tree.levels] == [*firsts[1:], tree.nodes]


def test_an_explanation_has_hardly_more_terms_than_a_decision(small_programs):
    decide, explain = (SelectionTree.of(small_programs[name]) for name in (DECIDE, EXPLAIN))
    assert explain.products <= decide.products
    assert explain.linear.nnz < 3 * decide.linear.nnz  # of 11 outputs


@QUICK
@given(st.data())
def test_squares_bound_the_noise_of_every_selection(data):
    layout = data.draw(layouts())
    outputs = data.draw(st.integers(1, 3))
    polynomial = data.draw(polynomials(layout, outputs))
    bits = layout.bits_of_states(sample_states(layout, 4, seed=5))
    tree = SelectionTree.of(program_with(layout, polynomial, outputs))

    def passed(node, row):
        """Return, by bit, the sum of the coefficients of all selected nodes."""
        sums = np.zeros((layout.n_bits, outputs), np.int64)
        for bit, coefficients in node.linear:
            sums[bit] += coefficients
        for bit, inner in node.products:
            sums += int(row[bit]) * passed(inner, row)
        return sums

    for row in bits:
        assert (passed(nest(polynomial), row) ** 2).sum() <= tree.squares


@pytest.mark.parametrize(
    ("polynomial", "products", "nodes"),
    [({}, 0, 1), ({(): [5]}, 0, 1), ({(1,): [3]}, 0, 1), ({(0, 7): [3], (): [-1]}, 1, 2)],
)
def test_smallest_programs_have_valid_trees(layout, polynomial, products, nodes):
    program = program_with(layout, {m: np.array(c) for m, c in polynomial.items()}, 1)
    tree = SelectionTree.of(program)
    assert (tree.products, tree.nodes) == (products, nodes)
    for row in (np.zeros(layout.n_bits, np.uint8), np.ones(layout.n_bits, np.uint8)):
        assert (walked(tree, row) == program.scores(row[None])[0]).all()
