"""A party's connection: the server, its public model, the engine and the party's own files."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from engines.interface import JointPartyEngine, PartyEngine, PublicModel
from engines.registry import load_joint_party_engine, load_party_engine
from features.encoding import Layout
from parties.client import ServerClient
from parties.expiry import erase_expired
from parties.joint.identities import Trust
from parties.store import PartyStore
from settings import Settings
from utils.errors import EngineUnavailable
from utils.forks import renew_in_children
from utils.witness_list import parse_witnesses


def trusted_witnesses(settings: Settings) -> dict[str, str] | None:
    """Return the party's own list of witnesses, names by key; None if it has none."""
    listed = settings.trusted_witnesses
    return None if listed is None else parse_witnesses(listed)


class Connection:
    """A server, its public model, and the engine loaded from the model's client files.

    Hold `engine_lock` around calls of the engine, because native libraries keep the current keys as
    global state. `hours` is the party's own limit on how long it keeps an application's files, and
    `witnesses` its own list of witnesses (see parties/joint/witnesses.py). `trust` holds the
    identity key of the one party that is played, with its pins of the others. A
    forked child may go on using the connection, with HTTP connections of its own. Raises
    ServerUnreachable, EngineUnavailable, and ForeignMessage if the client files are not the
    model's.
    """

    def __init__(
        self,
        client: ServerClient,
        store: PartyStore,
        hours: float = 24.0,
        witnesses: Mapping[str, str] | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.client = client
        self.store = store
        self.hours = hours
        self.witnesses = witnesses
        self.trust = trust or Trust()
        self.engine_lock = threading.Lock()
        self._load(client.model())
        renew_in_children(self)

    @classmethod
    def from_settings(cls, settings: Settings) -> Connection:
        """Connect to the server of the settings, and erase expired files from the folder."""
        store = PartyStore(settings.party_data)
        erase_expired(store, settings.application_hours)
        client = ServerClient.from_settings(settings)
        return cls(client, store, settings.application_hours, trusted_witnesses(settings))

    def renew_after_fork(self) -> None:
        self.engine_lock = threading.Lock()  # another thread of the parent may have held it

    def refresh(self) -> None:
        """Fetch the public model again; load a new engine if the model has changed."""
        public = self.client.model()
        if public != self.public:
            self._load(public)

    @property
    def engine(self) -> PartyEngine:
        """The engine, if one party makes the keys; raises EngineUnavailable otherwise."""
        if self._engine is None:
            raise EngineUnavailable(
                "The server's engine makes its keys jointly; use JointSession for it."
            )
        return self._engine

    @property
    def joint_engine(self) -> JointPartyEngine:
        """The engine, if the keys are made jointly; raises EngineUnavailable otherwise."""
        if self._joint_engine is None:
            raise EngineUnavailable(
                "The server's engine has one key holder; use ApplicationSession for it, or start "
                "the server with an engine whose keys are made jointly."
            )
        return self._joint_engine

    def _load(self, public: PublicModel) -> None:
        files = self.client.client_files()
        joint = public.engine.joint_keys
        engine = None if joint else load_party_engine(public, files)
        joint_engine = load_joint_party_engine(public, files) if joint else None
        layout = Layout(public.schema_)
        # Assigned together, after everything is loaded: other threads may use the old ones.
        self._engine, self._joint_engine = engine, joint_engine
        self.layout, self.public = layout, public
