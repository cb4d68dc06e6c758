"""Applications and jobs without HTTP and workers, with a simulated clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from contract.http import Opened
from engines.interface import DECIDE, PublicModel
from service.applications.applications import Applications
from service.applications.party_tokens import PartyTokens
from service.applications.permits import Permits
from service.applications.slots import Place, Slots, Upload
from service.jobs.queue import Claim, Claims, Jobs
from service.storage.storage import Storage
from settings import Settings
from trials.permits import PermitKeys
from trials.stand_in import public_model

PUBLIC = public_model()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Played:
    """The server's services on one storage, with a token of each application's first party."""

    storage: Storage
    settings: Settings
    clock: Clock = field(default_factory=Clock)
    public: PublicModel = PUBLIC

    def __post_init__(self) -> None:
        parts = (self.storage, self.public, self.settings)
        self.applications = Applications(*parts, clock=self.clock)
        self.party_tokens = PartyTokens(*parts, clock=self.clock)
        self.slots = Slots(*parts, clock=self.clock)
        self.permits = Permits(*parts, clock=self.clock)
        self.jobs = Jobs(*parts, clock=self.clock)
        self.claims = self.server("a")
        self.tokens: dict[str, str] = {}
        self.keys: dict[str, PermitKeys] = {}

    def server(self, node: str) -> Claims:
        return Claims(self.storage, self.public, self.settings, node, clock=self.clock)

    def open(self) -> Opened:
        opened = self.applications.open()
        keys = self.keys[opened.client_id] = PermitKeys()
        for party, code in opened.join_codes.items():
            key = keys.public(party)
            joined = self.party_tokens.join(opened.client_id, party, code, None, key)
            self.tokens.setdefault(opened.client_id, joined.token)
        return opened

    def permits_for(self, client_id: str, program: str = DECIDE) -> list[str]:
        """Return new permits of all parties for a run on the messages that the server holds."""
        state = self.applications.look(client_id, self.tokens[client_id])
        sha256 = {(s.party, s.file_name): s.sha256 for s in state.slots if s.sha256 is not None}
        now = self.clock()
        return self.keys[client_id].permits(self.public, client_id, program, sha256, now)

    def permit(self, client_id: str, program: str = DECIDE) -> None:
        """Give permits of all parties, unless a message is missing."""
        if found := self.permits_for(client_id, program):
            self.permits.give(client_id, self.tokens[client_id], found)

    def fill(self, client_id: str, place: Place, content: bytes | None = None) -> None:
        path = self.storage.incoming.new()
        content = place.slot.party.encode() if content is None else content
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        upload = Upload(path, len(content), digest)
        self.slots.keep(place, upload)
        self.slots.fill(client_id, place, upload)

    def place(self, client_id: str, party: str, file_name: str) -> Place:
        return self.slots.admit(client_id, self.tokens[client_id], party, file_name)

    def ready(self) -> Opened:
        """Open an application and fill all its slots."""
        opened = self.open()
        first = self.public.slots[0]
        store = self.place(opened.client_id, first.party, first.file_name).store
        for slot in self.public.slots:
            self.fill(opened.client_id, Place(slot, store))
        return opened

    def ask(self, client_id: str, program: str = DECIDE) -> Any:
        """Queue a run with permits of all parties."""
        if program in self.public.programs:
            self.permit(client_id, program)
        return self.jobs.ask(client_id, self.tokens[client_id], program)

    def running(self) -> tuple[Opened, Claim]:
        """Open an application and claim its decision."""
        opened = self.ready()
        self.ask(opened.client_id)
        claim = self.claims.claim()
        assert claim is not None and claim.client_id == opened.client_id
        return opened, claim

    def blobs(self) -> set[tuple[str, str]]:
        blobs = self.storage.blobs
        return {(store, name) for store in blobs.stores() for name, _, _ in blobs.blobs_of(store)}
