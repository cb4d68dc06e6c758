"""The list of witnesses in a setting: `Auditor=<64 hexadecimal digits>, Supervisor=...`."""

from __future__ import annotations

import re

from utils.errors import InvalidRequest

MOST_WITNESSES = 8
_ENTRY = re.compile(r"([A-Z][A-Za-z0-9 .-]{0,31})=([0-9a-f]{64})")


def parse_witnesses(listed: str) -> dict[str, str]:
    """Return the witnesses' names by public key (Ed25519, hexadecimal), in the order listed.

    Raises InvalidRequest.
    """
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in listed.split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise InvalidRequest(
                f"{entry[:40]!r} is not a witness: write a name of at most 32 characters that "
                "starts with a capital letter, `=`, and the 64 hexadecimal digits that "
                "`python -m witness --key` prints."
            )
        name, key = match[1].rstrip(), match[2]
        if key in found or name in found.values():
            raise InvalidRequest(f"The witness {name} is listed twice.")
        found[key] = name
    if len(found) > MOST_WITNESSES:
        raise InvalidRequest(f"At most {MOST_WITNESSES} witnesses can be listed.")
    return found
