"""The HTTP call of a direct exchange, from an institution's agent to an owner's."""

from __future__ import annotations

from parties.bounded_http import BoundedHttp
from parties.governance.exchange_seal import LARGEST_RESPONSE, PATH
from utils.errors import AgentUnreachable, ServerUnreachable

EXCHANGE_SECONDS = 30.0
"""Longest wait for the owner's agent."""


class ExchangeClient(BoundedHttp):
    """A short connection to the owner's agent at a host and port."""

    def __init__(self, host: str, port: int, seconds: float = EXCHANGE_SECONDS) -> None:
        """Raises AddressInvalid if they are no address."""
        name = f"[{host}]" if ":" in host else host
        super().__init__(f"http://{name}:{port}", seconds)

    def exchange(self, call: bytes) -> bytes:
        """Return the response to a call (parties/governance/exchange_seal.py).

        Raises AgentUnreachable, and what the owner's agent reports.
        """
        headers = {"Content-Type": "application/json"}
        try:
            return self._bytes("POST", PATH, LARGEST_RESPONSE, content=call, headers=headers)
        except ServerUnreachable as error:
            raise AgentUnreachable(
                f"The owner's agent does not respond at {self.url}. Ask the owner to start it; "
                "until the permit expires, it can be brought again."
            ) from error
