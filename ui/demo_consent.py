"""The demonstration's data owner and institution, which start when the server is up.

Between real people and institutions each makes its own key, and the operator of the server
registers the institution. Here one process does it for all, in the folders of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from contract.governance import PartnerKind, PartnerLines, PartnerToken
from governance.store_key import make_key_file
from parties.identity_file import make_identity
from parties.store_secret import KEY_FILE
from settings import Settings
from ui.compliance.operator_client import OperatorClient, token_of
from utils.atomic_files import write_atomic

OWNER, INSTITUTION = "owner", "institution"
NAMES = {OWNER: "Ana", INSTITUTION: "Demo Bank"}
PARTNER: tuple[str, PartnerKind] = ("demo-bank", "bank")
TOKEN_FILE = "partner_token"  # noqa: S105 - its name in the institution's folder
_SECONDS = 30.0


@dataclass(frozen=True)
class AgentStart:
    """The start of one of the two: its kind, name for people, module and words, and settings."""

    kind: str
    name: str
    words: list[str]
    settings: Mapping[str, str]


def commands(
    settings: Settings, folder: Path, server_url: str, tokens: Mapping[str, str]
) -> list[AgentStart]:
    """Make the keys, register the institution, and return how the owner and it are started.

    `folder` is that of all parties' own folders, and `tokens` open the pages. The server must be
    running. Raises FolderNotOurs, IdentityKeyInvalid, OSError and what the server reports.
    """
    homes = {kind: folder / f"demo_{kind}" for kind in (OWNER, INSTITUTION)}
    make_identity(homes[OWNER])
    key_file = homes[OWNER] / KEY_FILE
    if not key_file.exists():
        make_key_file(key_file)
    with _Partners(server_url, _SECONDS, lambda: token_of(settings)) as partners:
        token_file = partners.registered(homes[INSTITUTION])
    more = {OWNER: ["--key-file", key_file], INSTITUTION: ["--token-file", token_file]}
    ports = {OWNER: settings.owner_port, INSTITUTION: settings.institution_port}
    return [
        AgentStart(
            kind,
            f"{NAMES[kind]}'s agent",
            [
                *("parties", kind, "--name", NAMES[kind], "--home", str(homes[kind])),
                *("--page-port", str(ports[kind]), *map(str, more[kind])),
            ],
            {"server_url": server_url, "page_token": tokens[kind]},
        )
        for kind in (OWNER, INSTITUTION)
    ]


class _Partners(OperatorClient):
    """The operator's calls about partners."""

    def registered(self, home: Path) -> Path:
        """Return the file of the institution's token; register it unless the server knows it."""
        key, path = make_identity(home).public.hex(), home / TOKEN_FILE
        name, kind = PARTNER
        known = {
            line.partner_id: line.key
            for line in self._answer(
                PartnerLines, "GET", "/operator/partners", token=self._token()
            ).items
        }
        if known.get(name) == key and path.exists():
            return path
        if name in known:
            place = f"/operator/partners/{quote(name, '')}"
            self._bytes("DELETE", place, 1024, token=self._token())
        body = {"partner_id": name, "partner_type": kind, "key": key}
        made = self._answer(
            PartnerToken, "POST", "/operator/partners", token=self._token(), json=body
        )
        write_atomic(path, made.token.encode())
        return path
