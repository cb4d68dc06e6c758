"""Three protocols in one process, and the messages that the server would relay between them.

`Table.post` is the server's list of messages: every message in it is delivered to every party in
that order, as by the relay. A party misbehaves through its engine (`engines`), or because a test
adds messages to the list or drops them (`carries`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engines.envelope import unseal
from engines.interface import (
    CHALLENGE,
    DECIDE,
    ENCRYPTED_INPUTS,
    MASKS_OF,
    PUBLIC_KEY,
    JointPartyEngine,
)
from features.encoding import Bits
from parties.joint.channel import GROUP_SECRET_BYTES, Identity, Place
from parties.joint.identities import Trust
from parties.joint.messages import JointMessage, encode
from parties.joint.protocol import JointProtocol
from tests.privacy.small import PARTIES, EngineHalves

APPLICATION = "0" * 32


@dataclass(frozen=True)
class Posted:
    sender: str
    step: str
    receiver: str | None
    body: bytes


class Table:
    """The parties of one application; `run` delivers messages until none is left."""

    def __init__(
        self,
        halves: EngineHalves,
        readers: tuple[str, ...] = PARTIES,
        engines: Mapping[str, JointPartyEngine] | None = None,
        application: str = APPLICATION,
        group_secret: bytes | None = None,
        trust: Mapping[str, Trust] | None = None,
    ) -> None:
        self.halves = halves
        self.engines = {name: (engines or {}).get(name, halves.party) for name in PARTIES}
        secret = group_secret or os.urandom(GROUP_SECRET_BYTES)
        self.identities = {name: Identity.fresh(secret) for name in PARTIES}
        self.protocols = {
            name: JointProtocol.start(
                self.engines[name],
                halves.server.public,
                name,
                application,
                self.identities[name],
                readers,
                (trust or {}).get(name),
            )
            for name in PARTIES
        }
        self.post: list[Posted] = []
        self.masks: dict[str, bytes] = {}
        """Every party's masks of the decision, once it has committed to them."""
        self.carries: Callable[[Posted], bool] = lambda posted: True
        self._seen = dict.fromkeys(PARTIES, 0)

    def __getitem__(self, party: str) -> JointProtocol:
        return self.protocols[party]

    def run(self) -> None:
        """Deliver messages until none is left; raises the error of a party that refuses one."""
        while self.collect() or self._show():
            pass

    def collect(self) -> bool:
        before = len(self.post)
        for name, protocol in self.protocols.items():
            known = [(p.step, p.receiver) for p in self.post if p.sender == name]
            for message in protocol.pending():
                posted = Posted(name, message.step, message.receiver, message.body)
                if (posted.step, posted.receiver) not in known and self.carries(posted):
                    self.post.append(posted)
        return len(self.post) > before

    def _show(self) -> bool:
        """Deliver one message to one party; return True if there was one."""
        for name in PARTIES:
            while self._seen[name] < len(self.post):
                posted = self.post[self._seen[name]]
                self._seen[name] += 1
                if posted.receiver in (None, name) or posted.sender == name:
                    self.tell(name, posted)
                    return True
        return False

    def tell(self, party: str, posted: Posted) -> bool:
        """Deliver `posted` to one party, whether or not it is in the list."""
        return self.protocols[party].receive(
            posted.sender, posted.step, posted.receiver, posted.body
        )

    def messages_of(self, sender: str, step: str) -> list[Posted]:
        return [p for p in self.post if (p.sender, p.step) == (sender, step)]

    def forge(
        self,
        sender: str,
        step: str,
        message: JointMessage,
        receiver: str | None = None,
        name: str | None = None,
    ) -> Posted:
        """Seal a message with `sender`'s own keys; `name` is its claimed sender."""
        model = self.halves.server.public.model_version
        place = Place(APPLICATION, model, name or sender, receiver, step)
        body = self.protocols[sender].conversation.channel.seal(place, encode(message))
        return Posted(name or sender, step, receiver, body)

    def keys(self) -> Table:
        """Run the key generation."""
        self.run()
        assert all(protocol.ready for protocol in self.protocols.values())
        return self

    def sent(self, bits: Bits) -> dict[tuple[str, str], bytes]:
        """Return the public key and all parties' encrypted bits, as uploaded.

        The parties commit to them, unless they have committed to others before.
        """
        first, layout = PARTIES[0], self.halves.deployment.layout
        key = self[first].public_key
        uploads = {(first, PUBLIC_KEY): self.halves.party.seal_public_key(first, key)}
        for name in PARTIES:
            own = bits[layout.party_bits(name)]
            uploads[name, ENCRYPTED_INPUTS] = self.halves.party.encrypt(name, own, key)
        self.commit(digests(uploads))
        return uploads

    def commit(self, records: Mapping[str, str]) -> None:
        """Have every party that has not commit to its record, by SHA-256, and to its masks."""
        for name, sha256 in records.items():
            if not self[name].has_committed:
                self[name].commit_record(sha256, self.masks_of_decision(name))
        self.run()

    def masks_of_decision(self, name: str) -> str | None:
        """Make a party's masks of the decision, once; return their SHA-256, or None."""
        if not self.halves.server.public.masked(DECIDE):
            return None
        if name not in self.masks:
            self.masks[name] = self._encrypted_masks(DECIDE, name)
        return hashlib.sha256(self.masks[name]).hexdigest()

    def _encrypted_masks(self, program: str, name: str) -> bytes:
        own = self[name]
        return self.engines[name].encrypt_masks(program, name, own.public_key, own.secret)

    def decided(self, bits: Bits) -> bytes:
        """Send all inputs, agree to the decision, and return its result, still sealed."""
        uploads = self.sent(bits)
        self.agree("decide", uploads)
        return self.halves.server.evaluate("decide", uploads)

    def agree(self, program: str, uploads: dict[tuple[str, str], bytes]) -> None:
        """Have all parties agree to `program`; adds masks and challenge to the uploads.

        The masks of the decision are those committed to.
        """
        masked = self.halves.server.public.masked(program)
        for name, protocol in self.protocols.items():
            masks = None
            if masked:
                key = (name, MASKS_OF[program])
                made = self.masks.get(name) if program == DECIDE else None
                uploads[key] = made or self._encrypted_masks(program, name)
                masks = hashlib.sha256(uploads[key]).hexdigest()
            protocol.agree(program, digests(uploads), masks)
        self.run()
        if program == DECIDE and self.halves.server.public.checked:
            (uploads[PARTIES[0], CHALLENGE],) = {p.challenge() for p in self.protocols.values()}

    def open(self, program: str, result: bytes) -> None:
        """Have all parties send their decryption shares of the same result."""
        for protocol in self.protocols.values():
            protocol.open(program, result)
        self.run()
        for protocol in self.protocols.values():
            protocol.open(program, result)
        self.run()


def digests(uploads: Mapping[tuple[str, str], bytes]) -> dict[str, str]:
    """Return the digests that the parties agree to: SHA-256 of every party's encrypted inputs."""
    return {name: hashlib.sha256(uploads[name, ENCRYPTED_INPUTS]).hexdigest() for name in PARTIES}


def payload(message: bytes) -> bytes:
    return bytes(unseal(message)[1])
