"""Three protocols and the list of all their messages, in place of a server."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from engines.interface import DECIDE
from parties.joint.channel import Identity
from parties.joint.protocol import JointProtocol
from trials.joint_stand_in import JointStandIn, public_model, result_of, scores_of

APPLICATION = "0123456789abcdef" * 2
INPUTS = {"applicant": b"\1\0\1", "bank": b"\1\1", "credit_agency": b"\0\1\1"}
DIGESTS = {party: f"{i}" * 64 for i, party in enumerate(INPUTS)}


@dataclass(frozen=True)
class Posted:
    sender: str
    step: str
    receiver: str | None
    body: bytes

    def seen_by(self, party: str) -> bool:
        return self.receiver in (None, party) or self.sender == party


class Group:
    """Protocols, and `wire`: the messages in the relay's order; `taken` by party are delivered."""

    def __init__(self, readers=None, application=APPLICATION, public=None) -> None:
        self.public = public or public_model()
        self.names = self.public.schema_.party_names
        self.readers = tuple(readers or self.names)
        self.application = application
        self.engine = JointStandIn(self.public)
        self.group_secret = secrets.token_bytes(16)
        self.identities = {name: Identity.fresh(self.group_secret) for name in self.names}
        self.wire: list[Posted] = []
        self.protocols = {name: self.start(name) for name in self.names}
        self.taken = {name: set() for name in self.names}
        self.results: dict[str, bytes] = {}

    def start(self, name, **change) -> JointProtocol:
        options = {
            "public": self.public,
            "application": self.application,
            "identity": self.identities[name],
            "readers": self.readers,
        } | change
        return JointProtocol.start(self.engine, party=name, **options)

    def restart(self, name) -> None:
        """Resume the protocol from its state, as after a restart of the party's process."""
        old = self.protocols[name]
        identity = Identity.from_bytes(self.identities[name].to_bytes())
        parts = (self.engine, self.public, name, self.application, identity)
        self.protocols[name] = JointProtocol.resume(*parts, old.to_bytes(), old.secret)

    def post(self, name) -> int:
        """Put a party's pending messages on the wire; return their number."""
        pending = self.protocols[name].pending()
        for message in pending:
            self.wire.append(Posted(name, message.step, message.receiver, message.body))
            message.posted = True
        return len(pending)

    def deliver(self, name, index) -> None:
        posted = self.wire[index]
        self.protocols[name].receive(posted.sender, posted.step, posted.receiver, posted.body)
        self.taken[name].add(index)

    def due(self, name) -> list[int]:
        """Return the indices of the messages that a party could receive, in the wire's order."""
        seen = (i for i, posted in enumerate(self.wire) if posted.seen_by(name))
        return [i for i in seen if i not in self.taken[name]]

    def pump(self) -> None:
        """Deliver all messages in order until none is left."""
        names = self.names
        while sum([self.post(n) for n in names]) + sum(len(self.due(n)) for n in names):
            for name in self.names:
                for index in self.due(name):
                    self.deliver(name, index)

    def until(self, step) -> None:
        """Deliver in order until a message of `step` is on the wire, not yet delivered."""
        while True:
            for name in self.names:
                self.post(name)
            if any(posted.step == step for posted in self.wire):
                return
            for name in self.names:
                for index in self.due(name):
                    self.deliver(name, index)

    def ready(self) -> Group:
        self.pump()
        assert all(protocol.ready for protocol in self.protocols.values())
        return self

    def agree(self, program=DECIDE, names=None) -> Group:
        self.commit()
        for name in names or self.names:
            self.protocols[name].agree(program, DIGESTS)
        return self

    def commit(self, **digests: str) -> Group:
        """Have every party commit to its record, if it has not; deliver what is due before."""
        for name, protocol in self.protocols.items():
            if not protocol.has_committed:
                protocol.commit_record((DIGESTS | digests)[name])
        if not all(protocol.all_committed for protocol in self.protocols.values()):
            self.pump()
        return self

    def result(self, program=DECIDE) -> bytes:
        """Return a new result at each call, as from a server that evaluates again."""
        key = next(iter(self.protocols.values())).public_key
        return result_of(program, self.public, key, INPUTS)

    def run(self, program=DECIDE) -> bytes:
        """Agree, evaluate and open, all in order."""
        self.agree(program)
        self.pump()
        result = self.results.setdefault(program, self.result(program))
        self.open(program, result)
        self.pump()
        return result

    def open(self, program: str, result: bytes) -> None:
        """Confirm a result, and put every party's decryption share of it into its outbox."""
        for protocol in self.protocols.values():
            protocol.open(program, result)
        self.pump()
        for protocol in self.protocols.values():
            protocol.open(program, result)

    def scores(self, program=DECIDE) -> dict[str, list[int] | None]:
        found = {
            name: protocol.scores(program, self.results[program])
            for name, protocol in self.protocols.items()
        }
        return {name: None if s is None else list(s) for name, s in found.items()}

    def truth(self, program=DECIDE) -> list[int]:
        return scores_of(program, self.public, INPUTS)

    def snapshot(self, name) -> tuple[bytes, bytes]:
        return self.protocols[name].to_bytes(), self.protocols[name].secret
