"""The challenge of the check that inputs are bits: a seed that nobody can choose or predict.

It is the SHA-256 of the application, the digests of all uploads, and a nonce of every party. The
parties commit to their nonces before the first upload, and to the digests of their uploads before
they send these. Then whoever could still change an upload does not know the others' nonces, and
whoever could still change a nonce is bound to it, so that no party can try uploads until a
challenge suits it. One honest party's nonce is enough.

Source: Fiat, Shamir, CRYPTO 1986, for challenges by hashing; the nonces replace the assumption that
a cheating party can compute only a limited number of hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from engines.levelled.parameters import DIGEST_BYTES, SEED_BYTES
from utils.errors import MalformedMessage

_PURPOSE = b"triseal levelled well-formed inputs 1"


def challenge(
    application: bytes, uploads: Mapping[str, bytes], nonces: Mapping[str, bytes]
) -> bytes:
    """Return the challenge's seed, 32 bytes.

    `application` identifies application, model and public key; `uploads` are the SHA-256 digests of
    the parties' encrypted inputs, in the schema's order of parties, and `nonces` their nonces of 32
    bytes, in any order. Every field is hashed with its length, so that no two lists of fields give
    the same input to the hash. Raises MalformedMessage if a digest or nonce is missing or of
    another length.
    """
    if set(uploads) != set(nonces):
        raise MalformedMessage(
            "The challenge needs one upload and one nonce of every party; wait for all of them."
        )
    fields = [_PURPOSE, application, len(uploads).to_bytes(4, "little")]
    for party, digest in uploads.items():
        if len(digest) != DIGEST_BYTES or len(nonces[party]) != SEED_BYTES:
            raise MalformedMessage(
                f"The digest or the nonce of {party[:40]} is not 32 bytes long; it must be sent "
                "again."
            )
        fields += [party.encode(), digest, nonces[party]]
    return hashlib.sha256(
        b"".join(len(field).to_bytes(4, "little") + field for field in fields)
    ).digest()
