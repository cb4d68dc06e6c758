"""The last party to send its share of the key chooses it so that it alone knows the whole secret.

That it is refused: tests/privacy/test_misbehaviour_in_key_making.py, as is a share without a
commitment. Here the commitment is switched off, and the attack is played to its end.
"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from engines.envelope import unseal
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.messages import split_inputs
from engines.levelled.parameters import DEFAULT
from engines.levelled.words import words_from_bytes, words_to_bytes
from parties.joint import checks
from parties.joint.messages import SHARE_COMMIT, SHARE_OPEN, ShareOpen
from tests.privacy.misbehaving import HONEST, LIAR, without


def test_control_without_the_commitment_the_last_party_decrypts_every_record(halves, table, bits):
    table.carries = without(SHARE_OPEN)
    table.run()
    liar = table[LIAR]
    own = halves.party.key_share(liar._keys._common())
    share = words_from_bytes(own.share, DEFAULT.n)
    for name in HONEST:  # it has seen their shares
        share -= words_from_bytes(table[name].conversation.state.share, DEFAULT.n)
    nonce = liar.conversation.state.nonces[SHARE_COMMIT]
    message = ShareOpen(share=words_to_bytes(share), nonce=nonce)
    with patch.object(checks, "_as_promised", lambda *_: None):
        for name in HONEST:
            assert table.tell(name, table.forge(LIAR, SHARE_OPEN, message))
    (key,) = {table[name].public_key for name in HONEST}
    assert np.array_equal(
        PublicKey.from_bytes(key, DEFAULT).body, words_from_bytes(own.share, DEFAULT.n)
    )
    secret = SecretShare.from_bytes(own.secret, DEFAULT)
    for name in HONEST:
        true = bits[halves.deployment.layout.party_bits(name)]
        sealed = halves.party.encrypt(name, true, key)
        assert decrypted(sealed, len(true), secret).tolist() == true.tolist()


def decrypted(sealed, count, secret):
    """Return the bits of a record, decrypted with the whole secret."""
    ciphertexts = split_inputs(unseal(sealed)[1], count, DEFAULT)[1].decode()
    row = DEFAULT.levels  # the first one that has the bit in its body
    found = []
    for bit in range(count):
        phase = ciphertexts.bodies[bit, row, :1] - secret.opens(ciphertexts.masks[bit, row], 1)
        found.append(round(int(phase[0]) / int(DEFAULT.gadget(0))) % DEFAULT.base)
    return np.array(found)
