"""Verification of servers' certificates, also of those of a private certification authority."""

from __future__ import annotations

import ssl
from pathlib import Path

from utils.errors import SettingsInvalid

_LONGEST_CHAIN = 16
"""Causes of an error to look through."""


def verification(authority: Path | None) -> ssl.SSLContext | bool:
    """Return httpx's `verify`: True for the public authorities, a context for a private one.

    `authority` is a PEM file. No other authority is trusted with it. Raises SettingsInvalid.
    """
    if authority is None:
        return True
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:  # among them ssl.SSLError, for a file without a certificate
        raise SettingsInvalid(
            f"TRISEAL_SERVER_CA: {authority} cannot be used; make it a readable PEM file with the "
            "certificate of the authority that signed the server's certificate."
        ) from error
    return context


def distrust(error: BaseException) -> str | None:
    """Return the reason why a server's certificate was refused; None for any other error."""
    cause: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return None
