"""A party that encrypts something else than the bits of a record: numbers, garbage, two ones.

Every kind of forgery is caught by all honest parties, who name the party, before the scores that
open with the check are of any use: these are masked, and no comparison follows. The control opens
the same upload with the check left out, and the forged number decides.
"""

from __future__ import annotations

import numpy as np
import pytest

from engines.interface import DECIDE, MASKED_OF, SIGN_OF
from engines.levelled import party as party_module
from tests.attacks.forging import uploaded
from tests.privacy.misbehaving import HONEST, LIAR
from tests.privacy.small import PARTIES, random_bits
from trials.forged_inputs import forged_upload, with_bit
from utils.errors import InvalidInputs

KINDS = ["7", "-1", "1.5", "X^5", "masks of 1, bodies of 0", "garbage masks", "hole"]
"""Some of each sort; tests/engines/levelled/test_well_formed.py has all kinds."""


@pytest.mark.parametrize("kind", KINDS)
def test_forged_inputs_end_the_application_and_name_the_party(signs, kind):
    draw = np.random.default_rng(11)
    layout = signs.deployment.layout
    bits = random_bits(layout, draw, 1)[0]
    codes = tuple(code for code in layout.codes if code.party == LIAR)

    def forge(forger, own, _):
        return forged_upload(kind, codes, own, forger, draw)

    table, uploads = uploaded(signs, bits, forge)
    result = signs.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, result)
    for name in HONEST:
        with pytest.raises(InvalidInputs, match=f"^The encrypted inputs of {LIAR} are not"):
            table[name].masked_scores(DECIDE, result)
        assert table[name].broken and not table[name].agreed_files(SIGN_OF[DECIDE]).get(
            (PARTIES[0], MASKED_OF[DECIDE])
        )


def test_control_without_the_check_a_forged_number_decides(signs, monkeypatch):
    """Some number in place of a bit turns a denial into an approval."""
    monkeypatch.setattr(party_module, "verdict", lambda opened: ())
    layout, draw = signs.deployment.layout, np.random.default_rng(4)
    rows = random_bits(layout, draw, 40)
    denied = next(row for row in rows if signs.scores(DECIDE, row)[0] < 0)
    found = set()
    for position in range(layout.party_bits(LIAR).stop - layout.party_bits(LIAR).start):
        for number in (-9, 9):

            def forge(forger, own, _, at=position, value=number):
                return with_bit(forger.encrypted(own), at, forger.number(value))

            found.add(decided(signs, denied, forge))
        if 0.0 in found:
            break
    assert 0.0 in found


def decided(halves, bits, forge):
    """Return the sign that all parties open."""
    table, uploads = uploaded(halves, bits, forge)
    result = halves.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, result)
    uploads[PARTIES[0], MASKED_OF[DECIDE]] = table[PARTIES[0]].masked_scores(DECIDE, result)
    for name in PARTIES:
        table[name].masked_scores(DECIDE, result)
    second = halves.server.evaluate(SIGN_OF[DECIDE], uploads)
    table.open(SIGN_OF[DECIDE], second)
    ((sign,),) = {table[name].scores(SIGN_OF[DECIDE], second) for name in PARTIES}
    return sign


def test_honest_inputs_pass_and_decide(signs):
    bits = random_bits(signs.deployment.layout, np.random.default_rng(8), 1)[0]
    sign = decided(signs, bits, lambda forger, own, _: forger.encrypted(own))
    assert sign == (0.0 if signs.scores(DECIDE, bits)[0] >= 0 else -1.0)
