"""One decision on encrypted data by the server's engine, with all parties in this process.

The server evaluates ciphertexts under a joint key of which each party has a part, and opens
nothing. The lender plays all parties, so the protocol hides the record from the server and not from
the lender, who has it anyway. Where the applicant is to keep its part to itself, each party runs
its own agent (`python -m parties`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.interface import PublicModel
from federated.agents.api.local_model import LocalModel
from parties.client import ServerClient
from parties.connection import Connection, trusted_witnesses
from parties.joint.session import JointSession
from parties.store import PartyStore
from settings import Settings
from utils.errors import EngineUnavailable, ModelNotCompiled, TooManyRequests

HOURS = 1.0
"""Lifetime of an application's files, which are removed at its end anyway."""
AGAIN_SECONDS = 5.0


class EncryptedDecisions:
    """Decides one record at a time at the server `url`; the parties' files are in `home`."""

    def __init__(self, home: Path, url: str, settings: Settings) -> None:
        self._store, self._url, self._settings = PartyStore(home), url, settings
        self._lock = threading.Lock()

    def decide(self, model: LocalModel, record: Mapping[str, Any]) -> bool:
        """Return True if the parties open that the record is approved.

        Raises ModelNotCompiled unless the server's model was compiled from this one,
        EngineUnavailable unless its engine encrypts with joint keys, TooManyRequests while another
        decision is under way, and the errors of JointSession.
        """
        if not self._lock.acquire(blocking=False):
            raise TooManyRequests(
                "Another encrypted decision is under way; ask again when it is done.",
                AGAIN_SECONDS,
            )
        try:
            self._store.claim()
            with ServerClient.from_settings(self._settings, self._url) as client:
                _require(client.model(), model)  # before its engine is loaded
                witnesses = trusted_witnesses(self._settings)
                connection = Connection(client, self._store, HOURS, witnesses)
                _require(connection.public, model)
                return _decided(connection, record)
        finally:
            self._lock.release()


def _decided(connection: Connection, record: Mapping[str, Any]) -> bool:
    session = JointSession.open(connection)
    try:
        session.make_keys()
        for party in connection.public.schema_.parties:
            session.send(party.name, {c.name: record[c.name] for c in party.columns})
        session.run()
        return session.open_decision().approved
    finally:
        session.discard()


def _require(public: PublicModel, model: LocalModel) -> None:
    """Raise unless the server decides by this model, on data that it cannot read."""
    if (
        public.booster_sha256 != model.booster_sha256
        or public.schema_.fingerprint() != model.layout.schema.fingerprint()
    ):
        raise ModelNotCompiled(
            "The server decides by another model than the newest one on this machine. Compile the "
            f"model of training {model.run_id[:8]} and start the server with it, or leave out "
            "`encrypted`."
        )
    if public.schema_.decision.refer_below is not None:
        raise EngineUnavailable(
            "The server's model refers applications in a grey zone to a person, and this call has "
            "only good and bad as answers; leave out `encrypted`."
        )
    if not (public.engine.encrypted and public.engine.joint_keys):
        raise EngineUnavailable(
            "The server's engine has no joint keys; start the server with TRISEAL_ENGINE=levelled."
        )
