"""Applications in which one party's upload is forged, up to its check."""

from __future__ import annotations

from engines.envelope import seal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, PUBLIC_KEY
from engines.levelled.keys import PublicKey
from engines.levelled.messages import header, join_inputs
from engines.levelled.parameters import DEFAULT
from tests.privacy.misbehaving import LIAR
from tests.privacy.small import PARTIES
from tests.privacy.table import Table, digests
from trials.forged_inputs import Forger


def sealed_upload(halves, made, key):
    """Return ciphertexts as the liar's upload under a public key."""
    own = header(halves.server.public.model_version, ENCRYPTED_INPUTS, LIAR)
    return seal(own, join_inputs(key.digest, made, DEFAULT))


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
    key = PublicKey.from_bytes(table[LIAR].public_key, DEFAULT)
    own = bits[halves.deployment.layout.party_bits(LIAR)]
    uploads[LIAR, ENCRYPTED_INPUTS] = sealed_upload(
        halves, forge(Forger(key, DEFAULT), own, uploads), key
    )
    table.commit(digests(uploads))
    table.agree(DECIDE, uploads)
    return table, uploads
