"""A party whose forged ciphertexts fail, or not, depending on another party's bit.

The failure itself would then tell the bit. Two ways: an upload made of another's ciphertext, which
is a bit only if the other's is 0; and a deviation that another's bit selects, so that the known
zeros open or not. Commitments to all records prevent the first, the check of all uploads the
second: it depends on the forging party's own ciphertexts alone, and comes first.
"""

from __future__ import annotations

import numpy as np
import pytest

from engines.envelope import unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS
from engines.levelled import party as party_module
from engines.levelled.encryption import zeros
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.messages import split_inputs
from engines.levelled.parameters import KNOWN_ZEROS
from engines.levelled.randomness import Expander
from tests.attacks.forging import encrypted, parameters_of, sealed_upload, uploaded
from tests.privacy.misbehaving import HONEST, LIAR
from tests.privacy.small import random_bits
from tests.privacy.table import Table, digests
from trials.forged_inputs import Forger, with_bit
from utils.errors import InvalidInputs, OpeningFailed, PartiesDisagree, TrisealError

VICTIM = "credit_agency"
FLAG = 3
"""The position of a party's flag among its bits; no other bit is related to it."""
SELECTED = 0
"""The liar's bit whose coefficient in the score is -541 or -345 by the victim's flag."""


def record(signs, flag):
    """Return the bits of an application with this flag of the victim, and the liar's flag 0."""
    layout = signs.deployment.layout
    bits = random_bits(layout, np.random.default_rng(2), 1)[0]
    bits[layout.party_bits(VICTIM).start + FLAG] = flag
    bits[layout.party_bits(LIAR).start + FLAG] = 0
    return bits


def doubled(forger, own, uploads):
    """Return the liar's upload with twice the victim's flag, made from its upload, as its own."""
    parameters = forger.parameters
    theirs = split_inputs(unseal(uploads[VICTIM, ENCRYPTED_INPUTS])[1], FLAG + 1, parameters)[1]
    flag = theirs.one(FLAG)
    fresh = zeros(forger.key, parameters.rows, parameters, Expander.fresh())
    masks, bodies = 2 * flag.masks + fresh[0], 2 * flag.bodies + fresh[1]
    return with_bit(forger.encrypted(own), FLAG, Ggsw(masks, bodies).cut(parameters))


def deviating(size):
    """Return a forger of a bit whose body deviates by `size`, in torus units, at the zeros."""

    def forge(forger, own, _):
        made = forger.encrypted(own)
        step = np.uint64(round(size * 2**64))
        made.bodies[SELECTED, forger.parameters.levels, 1 : 1 + KNOWN_ZEROS] += step
        return made.cut(forger.parameters)

    return forge


def outcome(signs, bits, forge):
    """Return the class and message of the error with which the first opening ends, or None."""
    table, uploads = uploaded(signs, bits, forge)
    result = signs.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, result)
    try:
        table[HONEST[0]].masked_scores(DECIDE, result)
    except TrisealError as error:
        return type(error), error.message
    return None


def test_control_without_commitments_the_check_of_a_copy_tells_the_others_bit(signs):
    """The copying party is named, but has read the bit."""
    assert outcome(signs, record(signs, 0), doubled) is None
    error, message = outcome(signs, record(signs, 1), doubled)
    assert error is InvalidInputs and message.startswith(f"The encrypted inputs of {LIAR} are")


@pytest.mark.parametrize("flag", [0, 1])
def test_an_upload_made_of_anothers_after_the_commitments_is_refused_for_either_bit(signs, flag):
    table, bits = Table(signs).keys(), record(signs, flag)
    uploads = encrypted(signs, table, bits)
    table.commit(digests(uploads))  # only now does the liar see the victim's upload
    parameters = parameters_of(signs)
    key = PublicKey.from_bytes(table[LIAR].public_key, parameters)
    own = bits[signs.deployment.layout.party_bits(LIAR)]
    late = sealed_upload(signs, doubled(Forger(key, parameters), own, uploads), key)
    uploads[LIAR, ENCRYPTED_INPUTS] = late
    for name in HONEST:
        with pytest.raises(PartiesDisagree, match=f"record of {LIAR}"):
            table[name].agree(DECIDE, digests(uploads), "0" * 64)


TELLING = 2**-9 / 443 / 8
"""A deviation that makes the known zeros fail times 541, but not times 345."""
TINY = 2**-30


def test_control_without_the_check_the_known_zeros_fail_by_the_others_bit(signs, monkeypatch):
    monkeypatch.setattr(party_module, "verdict", lambda opened: ())
    assert outcome(signs, record(signs, 1), deviating(TELLING)) is None
    error, _ = outcome(signs, record(signs, 0), deviating(TELLING))
    assert error is OpeningFailed


@pytest.mark.parametrize("size", [TELLING, TELLING / 4, TELLING / 16, TINY])
def test_a_deviation_is_found_by_the_check_or_too_small_to_fail_for_either_bit(signs, size):
    ends = [outcome(signs, record(signs, flag), deviating(size)) for flag in (0, 1)]
    assert ends[0] == ends[1]
    assert (ends[0] is None) is (size == TINY)
    assert ends[0] is None or ends[0][0] is InvalidInputs
