"""Join codes of joint applications, and the opening of an application.

    <client_id>.<server code>.<group secret>

The id and the server code come from the server; the server code works once. The group secret
(128 bits) is generated here, by the opener of the application, and never reaches the server: the
parties seal their hellos to each other with it. A join code is therefore a secret, to be given to
its party alone.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from parties.client import ServerClient
from parties.joint.channel import GROUP_SECRET_BYTES
from utils.errors import InvalidRequest

_CODE = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{1,200})\.([A-Za-z0-9_-]{22})")


@dataclass(frozen=True)
class JoinCode:
    """One party's join code; `str()` returns the text to give to the party."""

    client_id: str
    server_code: str = field(repr=False)
    group_secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a code as pasted by a person; raises InvalidRequest."""
        found = _CODE.fullmatch(text.strip())
        if found is None:
            raise InvalidRequest(
                "This is not a join code: paste the complete code that you were given, three "
                "parts separated by dots."
            )
        client_id, server_code, secret = found.groups()
        return cls(client_id, server_code, base64.urlsafe_b64decode(secret + "=="))

    def __str__(self) -> str:
        secret = base64.urlsafe_b64encode(self.group_secret).rstrip(b"=").decode()
        return f"{self.client_id}.{self.server_code}.{secret}"


@dataclass(frozen=True)
class JointOpening:
    """A new application: join `codes` by party, and a token that permits only to watch it."""

    client_id: str
    codes: dict[str, str] = field(repr=False)
    watch_token: str = field(repr=False)
    readers: tuple[str, ...] = ()
    explanation_readers: tuple[str, ...] = ()
    reasons_readers: tuple[str, ...] = ()


def open_joint(
    client: ServerClient,
    readers: Sequence[str] | None = None,
    explanation_readers: Sequence[str] | None = None,
    reasons_readers: Sequence[str] | None = None,
) -> JointOpening:
    """Open an application and make a join code for every party.

    The readers are as in ServerClient.open_application. Raises
    UnknownParty, InvalidRequest and TooManyApplications as the server reports them, and
    ServerUnreachable.
    """
    opened = client.open_application(readers, explanation_readers, reasons_readers)
    secret = secrets.token_bytes(GROUP_SECRET_BYTES)
    codes = {
        party: str(JoinCode(opened.client_id, code, secret))
        for party, code in opened.join_codes.items()
    }
    return JointOpening(
        opened.client_id,
        codes,
        opened.watch_token,
        opened.readers,
        opened.explanation_readers,
        opened.reasons_readers,
    )
