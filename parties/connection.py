"""What a party needs before any application: server, public model, engine and own files."""

from __future__ import annotations

import threading

from engines.interface import PartyEngine, PublicModel
from engines.registry import load_party_engine
from features.encoding import Layout
from parties.store import PartyStore
from parties.transport import ServerClient
from settings import Settings


class Connection:
    """A server, the public model that it runs, and the engine made of its client files.

    `engine_lock` is to be held around calls of the engine: native libraries keep the keys in use
    as state of their own. Raises ServerUnreachable, EngineUnavailable, and ForeignMessage for
    client files that are not the model's.
    """

    def __init__(self, client: ServerClient, store: PartyStore, hours: float = 24.0) -> None:
        self.client = client
        self.store = store
        self.hours = hours
        self.engine_lock = threading.Lock()
        self._load(client.model())

    @classmethod
    def from_settings(cls, settings: Settings) -> Connection:
        """The server and the folder that the settings name."""
        return cls(
            ServerClient.from_settings(settings),
            PartyStore(settings.party_data),
            settings.application_hours,
        )

    def refresh(self) -> None:
        """Read the public model again; a changed one brings its own engine."""
        public = self.client.model()
        if public != self.public:
            self._load(public)

    def _load(self, public: PublicModel) -> None:
        self.engine: PartyEngine = load_party_engine(public, self.client.client_files())
        self.layout = Layout(public.schema_)
        self.public = public
