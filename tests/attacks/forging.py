"""Applications in which one party's upload is forged, up to its check."""

from __future__ import annotations

from engines.envelope import seal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, PUBLIC_KEY
from engines.levelled.keys import PublicKey
from engines.levelled.messages import join_inputs
from tests.privacy.misbehaving import LIAR
from tests.privacy.small import PARTIES
from tests.privacy.table import Table, digests
from trials.forged_inputs import Forger


def sealed_upload(halves, made, key):
    """Return ciphertexts as the liar's upload under a public key."""
    own = halves.party._header(ENCRYPTED_INPUTS, LIAR)
    return seal(own, join_inputs(key.digest, made, parameters_of(halves)))


def parameters_of(halves):
    """Return the parameters of the application's ciphertexts."""
    return halves.party._parameters


def encrypted(halves, table, bits):
    """Return the public key and all parties' honest uploads; nobody has committed to them."""
    layout, key = halves.deployment.layout, table[LIAR].public_key
    uploads = {(PARTIES[0], PUBLIC_KEY): halves.party.seal_public_key(PARTIES[0], key)}
    for name in PARTIES:
        own = bits[layout.party_bits(name)]
        uploads[name, ENCRYPTED_INPUTS] = halves.party.encrypt(name, own, key)
    return uploads


def uploaded(halves, bits, forge):
    """Return a table whose parties agreed to uploads of which the liar's is forged, and these.

    `forge` gets a forger, the liar's bits and the honest parties' uploads.
    """
    table = Table(halves).keys()
    uploads = encrypted(halves, table, bits)
    parameters = parameters_of(halves)
    key = PublicKey.from_bytes(table[LIAR].public_key, parameters)
    own = bits[halves.deployment.layout.party_bits(LIAR)]
    uploads[LIAR, ENCRYPTED_INPUTS] = sealed_upload(
        halves, forge(Forger(key, parameters), own, uploads), key
    )
    table.commit(digests(uploads))
    table.agree(DECIDE, uploads)
    return table, uploads
