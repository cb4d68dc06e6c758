"""A party that encrypts something else than the bits of a record: numbers, garbage, two ones.

Every kind of forgery is caught by all honest parties, who name the party, before the scores that
open with the check are of any use: these are masked, and no comparison follows. The control opens
the same upload with the check left out, and the forged number decides.
"""

from __future__ import annotations

import numpy as np
import pytest

from engines.envelope import seal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, MASKED_OF, SIGN_OF
from engines.levelled import party as party_module
from engines.levelled.keys import PublicKey
from engines.levelled.messages import header, join_inputs
from engines.levelled.parameters import WIDE_NOISE
from tests.privacy.misbehaving import HONEST, LIAR
from tests.privacy.small import PARTIES, EngineHalves, random_bits, small_deployment
from tests.privacy.table import Table, digests
from trials.forged_inputs import Forger, forged_upload, with_bit
from utils.errors import InvalidInputs


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("forged"), opens="sign"))


def uploaded(halves, bits, forge):
    """Return a table whose parties agreed to uploads of which the liar's is forged."""
    table = Table(halves).keys()
    layout, key = halves.deployment.layout, table[LIAR].public_key
    public = PublicKey.from_bytes(key, WIDE_NOISE)
    uploads = {}
    for name in PARTIES:
        uploads[name, ENCRYPTED_INPUTS] = halves.party.encrypt(
            name, bits[layout.party_bits(name)], key
        )
    made = forge(Forger(public, WIDE_NOISE), bits[layout.party_bits(LIAR)])
    version, profile = halves.server.public.model_version, WIDE_NOISE.profile
    own = header(version, ENCRYPTED_INPUTS, LIAR, profile=profile)
    uploads[LIAR, ENCRYPTED_INPUTS] = seal(own, join_inputs(public.digest, made, WIDE_NOISE))
    uploads[PARTIES[0], "public_key"] = halves.party.seal_public_key(PARTIES[0], key)
    table.commit(digests(uploads))
    table.agree(DECIDE, uploads)
    return table, uploads


KINDS = ["7", "-1", "1.5", "X^5", "masks of 1, bodies of 0", "garbage masks", "hole"]
"""Some of each sort; tests/engines/levelled/test_well_formed.py has all kinds."""


@pytest.mark.parametrize("kind", KINDS)
def test_forged_inputs_end_the_application_and_name_the_party(signs, kind):
    draw = np.random.default_rng(11)
    layout = signs.deployment.layout
    bits = random_bits(layout, draw, 1)[0]
    codes = tuple(code for code in layout.codes if code.party == LIAR)

    def forge(forger, own):
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

            def forge(forger, own, at=position, value=number):
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
    sign = decided(signs, bits, lambda forger, own: forger.encrypted(own))
    assert sign == (0.0 if signs.scores(DECIDE, bits)[0] >= 0 else -1.0)
