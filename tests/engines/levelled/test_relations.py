"""The relations hold for exactly the codes of a record."""

import itertools

import numpy as np
from hypothesis import given

from engines.levelled.relations import Relations
from tests.strategies import QUICK, layouts


@QUICK
@given(layouts(most_columns=3, bins=4))
def test_relations_hold_for_exactly_the_codes_of_every_column(layout):
    for party in layout.schema.party_names:
        relations = Relations.of(layout, party)
        codes = layout.party_codes(party)
        valid = np.concatenate([code.table[0] for code in codes])
        assert relations.bits == len(valid)
        for code in codes:
            own = slice(code.first_bit - codes[0].first_bit, None)
            table = {tuple(row) for row in code.table.tolist()}
            for bits in itertools.product((0, 1), repeat=code.n_bits):
                record = valid.copy()
                record[own][: code.n_bits] = bits
                assert relations.hold(record) == (bits in table)


@QUICK
@given(layouts())
def test_partners_and_groups_stay_within_a_column(layout):
    for party in layout.schema.party_names:
        relations = Relations.of(layout, party)
        start = layout.party_bits(party).start
        column = [layout.code_of_bit[start + bit].first_bit for bit in range(relations.bits)]
        for bit, partner in enumerate(relations.partner):
            assert partner == -1 or (partner != bit and column[partner] == column[bit])
        groups = {}
        for bit, group in enumerate(relations.group):
            groups.setdefault(group, set()).add(column[bit])
        assert set(groups) - {-1} == set(range(relations.groups))
        assert all(len(columns) == 1 for group, columns in groups.items() if group >= 0)
