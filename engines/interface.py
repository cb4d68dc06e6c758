"""The interface of an engine: its two halves, and the facts it publishes about itself.

An engine has two halves that never share a process. `PartyEngine` generates keys, encrypts one
party's bits and decrypts results; it is built from the public model alone. `ServerEngine` checks
and evaluates messages; it is built from the deployment and never sees a secret key. The halves
exchange sealed messages (engines/envelope.py), each for one named slot of an application.

All engines have two programs: `decide` returns one score, `explain` one score for each value that
it tries (features/variations.py). A score of 0 or more means approved. The engines `levelled` and
`clear` may have a third, `reasons`: for each stated reason, the points by which the applicant lies
below the average of approved applicants. A deployment has the programs in `PublicModel.programs`.

If a deployment opens signs only, each program is followed by a comparison: the scores open under
masks that no single party knows, and a second program, `decide_sign` or `explain_sign`, returns
only their signs: 0 approved, -1 denied. `reasons_levels` returns a level of the points instead, 0
to 7.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from features.encoding import Bits
from features.schema import Schema
from utils.errors import EngineUnavailable
from utils.fingerprints import grouped

DECIDE = "decide"
EXPLAIN = "explain"
REASONS = "reasons"
PROGRAMS = (DECIDE, EXPLAIN, REASONS)
"""All programs that a deployment may have; without reasons, it has the first two."""
SIGN_OF = {DECIDE: "decide_sign", EXPLAIN: "explain_sign", REASONS: "reasons_levels"}
"""The program that compares the masked scores of another one with 0, or with edges of levels."""
MASKED_BY = {sign: program for program, sign in SIGN_OF.items()}

EVALUATION_KEY = "evaluation_key"
PUBLIC_KEY = "public_key"
ENCRYPTED_INPUTS = "encrypted_inputs"
EXPLANATION_INPUTS = "explanation_inputs"
MASKS_OF = {DECIDE: "decide_masks", EXPLAIN: "explain_masks", REASONS: "reasons_masks"}
"""The file with a party's encrypted masks of a program's scores."""
CHALLENGE = "challenge"
"""The file with the challenge of the check that all inputs are bits; sent by the first party."""
MASKED_OF = {DECIDE: "decide_masked", EXPLAIN: "explain_masked", REASONS: "reasons_masked"}
"""The file with a program's opened, masked scores; sent by the first party."""

Progress = Callable[[float], None]
"""Called with the finished fraction, 0 to 1."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineFacts(_Facts):
    """Properties of an engine that users need to know before they trust it."""

    name: str
    label: str = Field(description="Display name.")
    encrypted: bool = Field(description="False for the clear engine, which protects nothing.")
    joint_keys: bool = Field(description="True if no single party ever holds the secret key.")
    secret_key: str = Field(description="One sentence on who holds the secret key.")
    opened: str = Field(description="One sentence on what opening a decision reveals.")
    explains_by: Literal["program", "rerun"] = Field(
        description="`program`: one encrypted program for all bins; `rerun`: one more run per bin."
    )


class Slot(_Facts):
    """One message that an application needs: its sender, its file name and its maximum size.

    `needed_for` lists the programs that require the message.
    """

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    maximum_bytes: int


class ProgramFacts(_Facts):
    """The public facts of a program: the meaning and the range of its scores."""

    outputs: tuple[str, ...] = Field(description="One label per score.")
    score_bits: int
    scale: float = Field(description="Score units per unit of log-odds.")
    edges: tuple[int, ...] | None = Field(
        default=None,
        description="Of a program that opens levels: the points at which levels 1, 2, … begin.",
    )

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        # As in features/schema.py: models without levels keep their digests, and API documents the
        # fields.
        document = handler(self)
        if self.edges is None:
            document.pop("edges", None)
        return document


class PublicModel(_Facts):
    """Everything a party needs to know about a deployment, as returned by GET /model.

    `client_sha256` is the digest of the engine's client files, returned by GET /model/client.
    `booster_sha256` is the digest of the booster that was compiled, by which those who have it, as
    the lenders of a training, recognise it; None if the engine trains a model of its own.
    """

    format: Literal[1] = 1
    engine: EngineFacts
    model_version: str
    schema_: Schema = Field(alias="schema")
    programs: dict[str, ProgramFacts]
    slots: tuple[Slot, ...]
    client_sha256: str
    versions: dict[str, str]
    booster_sha256: str | None = None

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True
    )

    @property
    def checked(self) -> bool:
        """True if the decision comes with a check that all encrypted inputs are bits."""
        return any(slot.file_name == CHALLENGE for slot in self.slots)

    def masked(self, program: str) -> bool:
        """Return True if the program's scores open under masks, for its comparison."""
        return SIGN_OF.get(program) in self.programs

    def final(self, program: str) -> str:
        """Return the program whose scores a reader of `program` learns."""
        return SIGN_OF[program] if self.masked(program) else program

    def opens_sign(self, program: str) -> bool:
        """Return True if a reader of `program` learns only signs: 0 approved, -1 denied."""
        return self.programs[self.final(program)].score_bits <= 1

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with other fields if `update` has any; its digest is computed anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's canonical JSON, in hexadecimal; it covers `client_sha256`.

        Canonical JSON is UTF-8 with sorted keys and no spaces. Parties with equal digests have
        the same schema, programs, client files and versions.
        """
        document = self.model_dump(mode="json")
        text = json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The start of `digest`, for people to compare; see `fingerprint_of`."""
        return fingerprint_of(self.digest)


def fingerprint_of(digest: str) -> str:
    """Return the first 12 digits of a model's digest, in groups of 4."""
    return grouped(digest, 12)


class KeyPair(_Facts):
    """The result of key generation.

    `secret`, in the engine's own serialisation, never leaves the key holder. `evaluation` is a
    sealed message for the server.
    """

    secret: bytes = Field(repr=False)
    evaluation: bytes = Field(repr=False)


class PartyEngine(ABC):
    """The half of an engine that runs in a party's own process."""

    facts: EngineFacts

    @abstractmethod
    def make_keys(self) -> KeyPair:
        """Generate new keys, with randomness from the operating system."""

    @abstractmethod
    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        """Encrypt one party's bits, shape (bits of the party,), and return the sealed message.

        Raises MalformedMessage if `secret` is not a key of this engine.
        """

    def encrypt_explanation(self, bits: Bits, secret: bytes) -> bytes | None:
        """Return the additional message that `explain` needs from the explained column's owner.

        Return None if the engine explains on the inputs already sent.
        """
        return None

    @abstractmethod
    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        """Decrypt a sealed result and return its scores, in the order of the program's outputs.

        Engines with a fixed-point program return exact integers. Raises MalformedMessage,
        ForeignMessage.
        """


class KeyShare(_Facts):
    """A party's share of a collective key: `secret` stays in its process, `share` is sent."""

    secret: bytes = Field(repr=False)
    share: bytes


class JointPartyEngine(ABC):
    """The half of an engine with a collective key that runs in one party's own process.

    The parties' joint protocol (parties/joint) calls it step by step. Mappings have party names as
    keys and contain exactly the schema's parties. Bytes from another party are checked before they
    are used; every method that takes such bytes raises MalformedMessage.
    """

    facts: EngineFacts

    @abstractmethod
    def seed_share(self) -> bytes:
        """Return a party's fresh share of the common public randomness."""

    @abstractmethod
    def common(self, context: bytes, seeds: Mapping[str, bytes]) -> bytes:
        """Return the common public randomness of the application identified by `context`."""

    @abstractmethod
    def key_share(self, common: bytes) -> KeyShare:
        """Return a party's fresh secret and its share of the public key."""

    @abstractmethod
    def collective_key(self, common: bytes, shares: Mapping[str, bytes]) -> bytes:
        """Return the public key whose secret key is the sum of the parties' secrets."""

    @abstractmethod
    def seal_public_key(self, party: str, public_key: bytes) -> bytes:
        """Return the sealed message with which `party` sends the server the public key."""

    @abstractmethod
    def encrypt(self, party: str, bits: Bits, public_key: bytes) -> bytes:
        """Encrypt one party's bits, shape (bits of the party,), and return the sealed message."""

    def encrypt_masks(self, program: str, party: str, public_key: bytes, secret: bytes) -> bytes:
        """Return the sealed message with the party's encrypted masks of the program's scores.

        The masks follow from `secret`; every call encrypts them with fresh randomness. Called only
        if the public model says that the program is masked.
        """
        raise EngineUnavailable(f"{self.facts.label} has no masks.")

    def seal_challenge(
        self, context: bytes, inputs: Mapping[str, bytes], nonces: Mapping[str, bytes]
    ) -> bytes:
        """Return the sealed message with the challenge of the check that inputs are bits.

        The same for every party. `context` identifies the application and its public key, `inputs`
        are the SHA-256 digests of the parties' sealed inputs, `nonces` their 32-byte nonces.
        """
        raise EngineUnavailable(f"{self.facts.label} does not check inputs.")

    def seal_masked(self, program: str, result: bytes, partials: Mapping[str, bytes]) -> bytes:
        """Return the sealed message with the masked scores that the shares open.

        The same for every party. Raises ForeignMessage, OpeningFailed if a share is wrong, and
        InvalidInputs if a party's inputs failed their check.
        """
        raise EngineUnavailable(f"{self.facts.label} has no masks.")

    @abstractmethod
    def check_result(self, program: str, result: bytes) -> None:
        """Check a result before it is confirmed; raises ForeignMessage, MalformedMessage."""

    @abstractmethod
    def partial(
        self,
        program: str,
        result: bytes,
        party: str,
        public_key: bytes,
        secret: bytes,
        pairwise: Mapping[str, bytes],
    ) -> bytes:
        """Return a party's decryption share of a sealed result; deterministic for one result.

        The share of a masked program's result includes the party's masks.

        `pairwise` maps every other party to a 32-byte key that only the two share; with these
        keys the shares reveal nothing but their sum. Raises ForeignMessage.
        """

    @abstractmethod
    def combine(
        self, program: str, result: bytes, partials: Mapping[str, bytes]
    ) -> tuple[float, ...]:
        """Return the scores of a sealed result, exact integers, in the order of the outputs.

        Raises ForeignMessage, and OpeningFailed if a share is found to be wrong.
        """


class Outcome:
    """A program's outcome before its re-randomisation; only its own engine can read it."""


class ServerEngine(ABC):
    """The half of an engine that runs on the server, in a worker process."""

    facts: EngineFacts
    public: PublicModel

    @abstractmethod
    def client_files(self) -> bytes:
        """Return the zip archive from which a party's engine is built."""

    @abstractmethod
    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        """Check one uploaded message, as far as is possible before it is used.

        `intact` means that the message's digest has already been verified. Call this in a worker,
        since it may run native code. Raises MalformedMessage, ForeignMessage.
        """

    @abstractmethod
    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        """Run a program on an application's messages, by (party, file name).

        Returns the sealed result. Raises MalformedMessage, ForeignMessage, EvaluationFailed.
        """

    def evaluate_seeded(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        seed: bytes,
        progress: Progress | None = None,
    ) -> bytes:
        """Do the same as `evaluate`, with all randomness from `seed` (32 bytes), for `recheck`.

        The seed must be fresh and must not reach a party, which could remove with it what hides
        the model. Also raises EngineUnavailable if the engine's results cannot be checked.
        """
        raise EngineUnavailable(f"Results of the engine {self.facts.name} cannot be witnessed.")

    def outcome(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> Outcome:
        """Evaluate again, for `recheck`, as far as is possible without the seed.

        Raises the errors of `evaluate_seeded`.
        """
        raise EngineUnavailable(f"Results of the engine {self.facts.name} cannot be witnessed.")

    def recheck(self, program: str, outcome: Outcome, seed: bytes, result: bytes) -> None:
        """Compare a sealed result of `evaluate_seeded` with the program's own `outcome`.

        Evaluations on processors that round differently count as equal. Raises ResultDiffers,
        MalformedMessage and ForeignMessage.
        """
        raise EngineUnavailable(f"Results of the engine {self.facts.name} cannot be witnessed.")

    def load_key(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        """Load the evaluation key of these messages into memory, unless it is there.

        Called before an evaluation, and in advance once the key has arrived, then without the other
        messages. Raises MalformedMessage, ForeignMessage.
        """
        return

    def runs(self, program: str, messages: Mapping[tuple[str, str], bytes]) -> int:
        """Return how often the program evaluates the model: an explanation may do it for each bin.

        The finished share of `evaluate`'s progress is then a multiple of 1 / runs, and an error
        that `progress` raises ends the evaluation between two runs.
        """
        return 1

    def forget(self, digests: Collection[bytes]) -> None:
        """Drop all cached data of the messages with these digests (`engines.envelope.digest_of`).

        Unknown digests are ignored. May be called while another thread is in `evaluate`, which
        keeps the data that it is using.
        """
        return


def slot_of(slots: tuple[Slot, ...], party: str, file_name: str) -> Slot | None:
    """Return the slot of `party` named `file_name`, or None."""
    return next((s for s in slots if (s.party, s.file_name) == (party, file_name)), None)
