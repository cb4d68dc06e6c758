"""`python -m trials.witness`: forged results of a cheating server, none of which may be opened.

Real parties make a real key and agree to their encrypted records. A server that knows everything
but the parties' and the witness's keys then forges results of seven kinds. The witness judges what
the server gives it, and a party must refuse each forgery before it computes any part. As a control,
the same party without a witness opens every forgery.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import hashlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.envelope import seal, unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN, PUBLIC_KEY, ServerEngine
from engines.registry import load_joint_party_engine, load_server_engine
from features.encoding import Layout
from parties.joint.channel import Identity
from parties.joint.protocol import JointProtocol
from settings import get_settings
from utils.errors import ResultNotWitnessed
from utils.terminal import print_any_text
from witness.judge import Evaluated, Judge, Messages
from witness.key import public_hex

APPLICATION, OTHER = "a" * 32, "b" * 32
NAME = "Auditor"
TOLERANCE = 1 << 38
"""2^-26 of the torus, as words."""


@dataclass(frozen=True)
class Forgery:
    """A forged result, and the witness's signature that the server presents; empty if it has none.

    `refusal` is the witness's reason if it was shown the forgery and did not sign it.
    """

    family: str
    result: bytes
    signature: bytes
    refusal: str | None


class Scene:
    """The parties of one application after their agreement to the decision, and a witness."""

    def __init__(self, deployment: Path, witnessed: bool = True) -> None:
        self.engine: ServerEngine = load_server_engine("levelled", deployment)
        public = self.engine.public
        self.names = public.schema_.party_names
        self._party = load_joint_party_engine(public, self.engine.client_files())
        self._layout = Layout(public.schema_)
        self._key = Ed25519PrivateKey.generate()
        self.judge = Judge(self.engine, self._key)
        self.public_hex = public_hex(self._key)
        group = secrets.token_bytes(16)
        self._identities = {name: Identity.fresh(group) for name in self.names}
        witnesses = {self.public_hex: NAME} if witnessed else {}
        self.protocols = {name: self.joined(name, witnesses) for name in self.names}
        deliver(self.protocols)
        self.key = self.protocols[self.names[0]].public_key
        self.messages = self.encrypted(random.Random(1), self.key)  # noqa: S311 - not secret
        """The messages that the parties agreed to, by (party, file name)."""
        digests = {
            name: hashlib.sha256(self.messages[name, ENCRYPTED_INPUTS]).hexdigest()
            for name in self.names
        }
        for name, protocol in self.protocols.items():
            protocol.commit_record(digests[name])
        deliver(self.protocols)
        for protocol in self.protocols.values():
            protocol.agree(DECIDE, digests)
        deliver(self.protocols)

    def joined(self, name: str, witnesses: Mapping[str, str]) -> JointProtocol:
        """Return a party that has just joined and requires these witnesses."""
        own, readers = self._identities[name], tuple(self.names)
        public = self.engine.public
        return JointProtocol.start(
            self._party, public, name, APPLICATION, own, readers, witnesses=witnesses
        )

    def copy_of(self, name: str) -> JointProtocol:
        """Return a party as resumed from its files."""
        own = self.protocols[name]
        public, kept = self.engine.public, own.to_bytes()
        identity = self._identities[name]
        return JointProtocol.resume(
            self._party, public, name, APPLICATION, identity, kept, own.secret
        )

    def encrypted(self, draw: random.Random, key: bytes) -> dict[tuple[str, str], bytes]:
        """Return random records encrypted under the public key, and the key's message."""
        first = self.names[0]
        found = {(first, PUBLIC_KEY): self._party.seal_public_key(first, key)}
        for name in self.names:
            own = self._layout.party_bits(name)
            bits = np.array([draw.random() < 0.5 for _ in range(own.stop - own.start)])
            found[name, ENCRYPTED_INPUTS] = self._party.encrypt(name, bits, key)
        return found

    def signed(
        self, messages: Messages, result: bytes, seed: bytes, application: str = APPLICATION
    ) -> tuple[bytes, str | None]:
        """Return the witness's signature, or its refusal with an empty signature."""
        evaluated = self.judge.evaluate(application, DECIDE, messages)
        if not isinstance(evaluated, Evaluated):
            return b"", evaluated
        found = self.judge.judge(evaluated, result, seed)
        return found.signature or b"", found.refusal

    def honest(self, seed: bytes) -> bytes:
        """Return the result of the decision on the agreed messages."""
        return self.engine.evaluate_seeded(DECIDE, self.messages, seed)


def deliver(protocols: dict[str, JointProtocol]) -> None:
    """Deliver all pending messages until there are none."""
    moved = True
    while moved:
        moved = False
        for sender, protocol in protocols.items():
            for message in protocol.mark_posted(protocol.pending()):
                moved = True
                for name, other in protocols.items():
                    if name != sender and message.receiver in (None, name):
                        other.receive(sender, message.step, message.receiver, message.body)


def _other_bits(scene: Scene, draw: random.Random) -> Forgery:
    """Evaluate on another record of one party; show the witness the agreed messages."""
    name, seed = draw.choice(scene.names), draw.randbytes(32)
    other = scene.encrypted(draw, scene.key)[name, ENCRYPTED_INPUTS]
    forged = scene.messages | {(name, ENCRYPTED_INPUTS): other}
    result = scene.engine.evaluate_seeded(DECIDE, forged, seed)
    return Forgery("other bits", result, *scene.signed(scene.messages, result, seed))


def _other_program(scene: Scene, draw: random.Random) -> Forgery:
    """Put the first coefficients of an explanation where the decision belongs."""
    seed = draw.randbytes(32)
    header, honest = unseal(scene.honest(seed))
    other = unseal(scene.engine.evaluate_seeded(EXPLAIN, scene.messages, seed))[1]
    result = seal(header, bytes(other[: len(honest)]))
    return Forgery("other program", result, *scene.signed(scene.messages, result, seed))


def _other_inputs(scene: Scene, draw: random.Random) -> Forgery:
    """Show the witness inputs that the server made itself; it signs their result."""
    seed, forged = draw.randbytes(32), scene.encrypted(draw, scene.key)
    result = scene.engine.evaluate_seeded(DECIDE, forged, seed)
    return Forgery("other inputs", result, *scene.signed(forged, result, seed))


def _one_coefficient(scene: Scene, draw: random.Random) -> Forgery:
    """Alter one word of the mask or the body by more than the tolerance."""
    seed = draw.randbytes(32)
    header, payload = unseal(scene.honest(seed))
    words = np.frombuffer(payload, "<u8").copy()
    at, off = draw.randrange(len(words)), int(2 ** draw.uniform(38.001, 63)) * draw.choice((1, -1))
    words[at] = np.uint64((int(words[at]) + off) % (1 << 64))
    result = seal(header, words.tobytes())
    return Forgery("one coefficient", result, *scene.signed(scene.messages, result, seed))


def _chosen_mask(scene: Scene, draw: random.Random) -> Forgery:
    """Put a monomial as the mask, so that the parts would show coefficients of the secrets."""
    seed = draw.randbytes(32)
    header, payload = unseal(scene.honest(seed))
    words = np.frombuffer(payload, "<u8").copy()
    words[: len(words) - 9] = 0
    words[draw.randrange(len(words) - 9)] = np.uint64(1 << draw.randrange(40, 64))
    result = seal(header, words.tobytes())
    return Forgery("chosen mask", result, *scene.signed(scene.messages, result, seed))


def _other_application(scene: Scene, draw: random.Random) -> Forgery:
    """Let the witness sign the very result for another application."""
    seed = draw.randbytes(32)
    result = scene.honest(seed)
    signed = scene.signed(scene.messages, result, seed, OTHER)
    return Forgery("other application", result, *signed)


def _replay(scene: Scene, draw: random.Random) -> Forgery:
    """Present the signature of an earlier run of the same messages with a second result."""
    first, second = draw.randbytes(32), draw.randbytes(32)
    signed = scene.signed(scene.messages, scene.honest(first), first)
    return Forgery("replay", scene.honest(second), *signed)


FAMILIES: tuple[Callable[[Scene, random.Random], Forgery], ...] = (
    _other_bits,
    _other_program,
    _other_inputs,
    _one_coefficient,
    _chosen_mask,
    _other_application,
    _replay,
)


def forge(scene: Scene, number: int) -> Forgery:
    """Return the forgery of this number; the families take turns."""
    draw = random.Random(number)  # noqa: S311 - the attacker's choices, which no secret needs
    return FAMILIES[number % len(FAMILIES)](scene, draw)


def is_refused(scene: Scene, forgery: Forgery) -> bool:
    """Return True if every party refuses the forgery, and its state is unchanged."""
    given = {scene.public_hex: forgery.signature} if forgery.signature else {}
    for protocol in scene.protocols.values():
        before = protocol.to_bytes()
        try:
            protocol.open(DECIDE, forgery.result, given)
        except ResultNotWitnessed:
            if protocol.to_bytes() == before and protocol.opened(DECIDE) is None:
                continue
        return False
    return True


def main() -> None:
    """Forge results and print how many were refused, and the witness's time for a result."""
    print_any_text()
    parser = CommandParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="number of forgeries")
    parser.add_argument("--deployment", type=Path, default=None, help="the program's folder")
    options = parser.parse_args()
    scene = Scene(options.deployment or get_settings().deployment)
    refused, judged = Counter[str](), Counter[str]()
    for number in range(options.count):
        forgery = forge(scene, number)
        judged[forgery.family] += 1
        refused[forgery.family] += is_refused(scene, forgery)
    for family, count in judged.items():
        print(f"{family:18} {refused[family]:5} of {count} refused")
    seed = secrets.token_bytes(32)
    result = scene.honest(seed)
    walls, works = [], []
    for _ in range(20):
        wall, work = time.perf_counter(), time.process_time()
        scene.signed(scene.messages, result, seed)
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    print(
        f"witness, one result: {1000 * sorted(walls)[10]:.0f} ms, "
        f"{1000 * sorted(works)[10]:.0f} ms of processor time (medians of 20)"
    )


if __name__ == "__main__":
    run_command(main)
