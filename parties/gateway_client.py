"""The calls of a data owner's agent to the server's policy gateway, signed with the owner's key."""

from __future__ import annotations

import re
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import ConsentRequest, LogFacts, SpendRequest, Spent
from parties.bounded_http import ANSWER_BYTES
from parties.log_client import LogClient
from parties.retrying import ask_again
from parties.valid_requests import valid
from utils.errors import InvalidRequest
from utils.signed_requests import OWNER, authorization

SHORT_SECONDS = 30.0
_ID = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"


class GatewayClient(LogClient):
    """A client of the server at `url` for the gateway; safe to share between threads.

    Every method raises ServerUnreachable and the errors that the server reports.
    """

    def log_facts(self) -> LogFacts:
        """Return the log's name, size and keys, among them the one that signs permits."""
        return ask_again(lambda: self._answer(LogFacts, "GET", "/log", timeout=self._limit))

    def spend_permit(self, key: Ed25519PrivateKey, token: str, receipt: str | None = None) -> Spent:
        """Have the server mark a permit of the gateway as used; a second call is PermitSpent.

        The call is not retried: if the response is lost, the permit may have been marked.
        """
        with valid():
            content = SpendRequest(token=token, receipt=receipt).model_dump_json().encode()
        path = "/authorize/use"
        more = {"content": content, "timeout": self._limit}
        return self._answer(
            Spent, "POST", path, headers=_signed(key, "POST", path, content), **more
        )

    def say_consent(
        self,
        key: Ed25519PrivateKey,
        user_id: str,
        partner_id: str,
        purpose: str,
        granted: bool,
        signed_at: int,
    ) -> None:
        """Grant or revoke a consent; `signed_at` is in milliseconds since 1970, and rises.

        Raises InvalidRequest before the call if a value is outside the contract's bounds.
        """
        for what, name in (("user_id", user_id), ("partner_id", partner_id)):
            if re.fullmatch(_ID, name) is None:
                raise InvalidRequest(
                    f"{what}: it has letters, digits and ._:@- only, and at most 128 of them."
                )
        state = "granted" if granted else "revoked"
        with valid():
            asked = {"state": state, "purpose": purpose, "signed_at": signed_at}
            content = ConsentRequest.model_validate(asked).model_dump_json().encode()
        path = f"/consents/{user_id}/{partner_id}"

        def ask() -> None:
            headers = _signed(key, "PUT", path, content)
            more = {"content": content, "timeout": self._limit}
            self._bytes("PUT", path, ANSWER_BYTES, headers=headers, **more)

        ask_again(ask)

    @property
    def _limit(self) -> float:
        return min(self.timeout, SHORT_SECONDS)


def _signed(key: Ed25519PrivateKey, method: str, path: str, content: bytes) -> dict[str, str]:
    return {
        "Authorization": authorization(key, method, path, content, time.time(), OWNER),
        "Content-Type": "application/json",
    }
