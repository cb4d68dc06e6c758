"""The services of the log and the policy gateway, as one server has them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Self

from service.governance.checkpoints import Checkpoints
from service.governance.consents import Consents
from service.governance.gateway import Gateway
from service.governance.integrity import Audits
from service.governance.log import open_log
from service.governance.log_view import LogView
from service.governance.partners import Partners
from service.governance.policies import PolicyKeeper
from service.storage.storage import Storage
from settings import Settings
from utils.errors import NotAuthorised


@dataclass(frozen=True)
class Governance:
    """The services; they exist as soon as the storage is open."""

    log: LogView
    checkpoints: Checkpoints
    audits: Audits
    policies: PolicyKeeper
    partners: Partners
    consents: Consents
    gateway: Gateway

    @classmethod
    def open(cls, storage: Storage, settings: Settings) -> Self:
        """Open the log and the policy.

        Raises SettingsInvalid if the log was signed with another key, PolicyInvalid, and the errors
        of the storage.
        """
        open_log(storage)
        policies = PolicyKeeper(storage, settings)
        return cls(
            log=LogView(storage, settings),
            checkpoints=Checkpoints(storage, settings),
            audits=Audits(storage, settings),
            policies=policies,
            partners=Partners(storage),
            consents=Consents(storage),
            gateway=Gateway(storage, settings, policies),
        )

    def require_owner(self, key: str, user_id: str) -> None:
        """Raise NotAuthorised unless the key is that of the user's agent."""
        known = self.gateway.owner_keys().get(user_id, "")
        if not secrets.compare_digest(known.encode(), key.encode()):
            raise NotAuthorised("Only the user's own agent may do this.")
