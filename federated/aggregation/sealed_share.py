"""A Shamir share, sealed for its holder; the coordinator keeps it and can check what is revealed.

A sealed share begins with the digest of the share, followed by its ciphertext under
ChaCha20-Poly1305 (RFC 8439). Its key is derived from the root of sender and holder, the statement,
both names and the digest: it seals this share alone, hence the constant nonce, and a repeated
upload has the same bytes.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from federated.aggregation.seeds import share_digest, share_key
from federated.aggregation.shamir import ELEMENT_BYTES
from federated.aggregation.statement import DIGEST_BYTES, Statement
from parties.joint.channel import framed
from utils.errors import RevealInvalid

SEALED_BYTES = DIGEST_BYTES + ELEMENT_BYTES + 16
_NONCE = bytes(12)
_DOMAIN = b"triseal federated share 1"


def seal_share(root: bytes, stated: Statement, sender: str, holder: str, share: bytes) -> bytes:
    """Return the share, sealed for its holder: SEALED_BYTES bytes."""
    digest = share_digest(stated.digest, sender, holder, share)
    key = share_key(root, stated.digest, sender, holder, digest)
    bound = _bound(stated, sender, holder)
    return digest + ChaCha20Poly1305(key).encrypt(_NONCE, share, bound)


def open_share(root: bytes, stated: Statement, sender: str, holder: str, sealed: bytes) -> bytes:
    """Return the share; raises RevealInvalid, naming its sender, if it does not fit its digest."""
    digest = digest_of(sealed)
    try:
        if len(sealed) != SEALED_BYTES:
            raise InvalidTag
        key = share_key(root, stated.digest, sender, holder, digest)
        share = ChaCha20Poly1305(key).decrypt(
            _NONCE, sealed[DIGEST_BYTES:], _bound(stated, sender, holder)
        )
    except InvalidTag as error:
        raise _refused(sender, holder) from error
    if not fits(stated, sender, holder, sealed, share):
        raise _refused(sender, holder)
    return share


def digest_of(sealed: bytes) -> bytes:
    """Return the digest of the share within."""
    return sealed[:DIGEST_BYTES]


def fits(stated: Statement, sender: str, holder: str, sealed: bytes, share: bytes) -> bool:
    """Return True if this is the share within, without its key."""
    return hmac.compare_digest(
        share_digest(stated.digest, sender, holder, share), digest_of(sealed)
    )


def _bound(stated: Statement, sender: str, holder: str) -> bytes:
    return framed(_DOMAIN, stated.digest, sender.encode(), holder.encode())


def _refused(sender: str, holder: str) -> RevealInvalid:
    return RevealInvalid(
        f"The share that {sender} made for {holder} cannot be opened: it is of another step, was "
        f"altered, or {sender} is faulty. {sender} has to come back and reveal its own seed.",
        sender,
    )
