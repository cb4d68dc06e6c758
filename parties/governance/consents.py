"""An owner's consents to partners, which ask the server's policy gateway for permits."""

from __future__ import annotations

import time
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import ConsentRequest
from parties.bounded_http import ANSWER_BYTES, BoundedHttp
from utils.signed_requests import OWNER, authorization


class Consents(BoundedHttp):
    """The consents of one person, signed with the key of the person's agent.

    The server must know the key under `user_id` (TRISEAL_OWNERS).
    """

    def __init__(self, url: str, timeout: float, key: Ed25519PrivateKey, user_id: str) -> None:
        super().__init__(url, timeout)
        self._key = key
        self.user_id = user_id

    def say(self, partner_id: str, purpose: str, *, granted: bool) -> None:
        """Grant or revoke a partner's use of the person's record for a purpose.

        A revocation also takes back permits that have not been used. Raises NotAuthorised if the
        server does not know the person, InvalidRequest, ServerUnreachable and the other errors that
        the server reports.
        """
        body = ConsentRequest(
            state="granted" if granted else "revoked",
            purpose=purpose,
            signed_at=int(time.time() * 1000),
        )
        content = body.model_dump_json().encode()
        target = f"/consents/{quote(self.user_id, '')}/{quote(partner_id, '')}"
        signature = authorization(self._key, "PUT", target, content, time.time(), OWNER)
        headers = {"Authorization": signature, "Content-Type": "application/json"}
        self._bytes("PUT", target, ANSWER_BYTES, content=content, headers=headers)
