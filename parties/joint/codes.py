"""Join codes of a joint application, and opening one.

    <client_id>.<server code>.<group secret>

Id and server code come from the server; the server code works once. The group secret (128 bits)
is made here, by whoever opens the application, and never reaches the server: with it the parties
seal their first words to each other. So a code is a secret, to be given to its party alone.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from parties.client import ServerClient
from utils.errors import InvalidRequest

GROUP_SECRET_BYTES = 16
_CODE = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{1,200})\.([A-Za-z0-9_-]{22})")


@dataclass(frozen=True)
class JoinCode:
    """What one party needs to join; `str()` is the form in which it is handed over."""

    client_id: str
    server_code: str = field(repr=False)
    group_secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code as a person pasted it; raises InvalidRequest."""
        found = _CODE.fullmatch(text.strip())
        if found is None:
            raise InvalidRequest(
                "This is not a join code: paste the whole of what you were given, three parts "
                "with dots between them."
            )
        client_id, server_code, secret = found.groups()
        return cls(client_id, server_code, base64.urlsafe_b64decode(secret + "=="))

    def __str__(self) -> str:
        secret = base64.urlsafe_b64encode(self.group_secret).rstrip(b"=").decode()
        return f"{self.client_id}.{self.server_code}.{secret}"


@dataclass(frozen=True)
class JointOpening:
    """A new application: `codes` by party, and what lets its opener watch and nothing else."""

    client_id: str
    codes: dict[str, str] = field(repr=False)
    watch_token: str = field(repr=False)
    readers: tuple[str, ...] = ()


def open_joint(client: ServerClient, readers: Sequence[str] | None = None) -> JointOpening:
    """Open an application and make a join code for every party; `readers` learn the answer.

    None stands for all parties. Raises UnknownParty, InvalidRequest and TooManyApplications as the
    server reports them, and ServerUnreachable.
    """
    opened = client.open_application(readers)
    secret = secrets.token_bytes(GROUP_SECRET_BYTES)
    codes = {
        party: str(JoinCode(opened.client_id, code, secret))
        for party, code in opened.join_codes.items()
    }
    return JointOpening(opened.client_id, codes, opened.watch_token, opened.readers)
