"""What every engine offers: to a party, to the server, and as facts to show.

An engine comes in two halves that never share a process. `PartyEngine` makes keys, encrypts one
party's bits and opens results; it is built from the public model alone. `ServerEngine` checks and
evaluates; it is built from the deployment and never sees a secret key. Everything that passes
between them is a sealed message (engines/envelope.py) for one named slot of an application.

The program names are the same in every engine: `decide` opens one score, `explain` one score for
every bin of the explained column. A score of 0 or more means approved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from features.encoding import Bits
from features.schema import Schema

DECIDE = "decide"
EXPLAIN = "explain"
PROGRAMS = (DECIDE, EXPLAIN)

EVALUATION_KEY = "evaluation_key"
PUBLIC_KEY = "public_key"
ENCRYPTED_INPUTS = "encrypted_inputs"
EXPLANATION_INPUTS = "explanation_inputs"

Progress = Callable[[float], None]
"""Called with the finished share, 0 to 1."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineFacts(_Facts):
    """What a person must know of an engine before trusting it; shown wherever it runs."""

    name: str
    label: str = Field(description="A short name for people.")
    encrypted: bool = Field(description="False for the stand-in, which protects nothing.")
    joint_keys: bool = Field(description="True where nobody ever holds the secret key alone.")
    secret_key: str = Field(description="Who holds the secret key, in one sentence.")
    opened: str = Field(description="What opening a decision reveals, in one sentence.")
    explains_by: Literal["program", "rerun"] = Field(
        description="One encrypted program for all bins, or one more run for every bin."
    )


class Slot(_Facts):
    """One message that an application needs: who sends it, under which name, how large it may be.

    `needed_for` lists the programs that cannot run without it.
    """

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    maximum_bytes: int


class ProgramFacts(_Facts):
    """What is public of a program: the meaning and the range of what it opens."""

    outputs: tuple[str, ...] = Field(description="A label for each opened score.")
    score_bits: int
    scale: float = Field(description="Score units for one unit of log-odds.")


class PublicModel(_Facts):
    """All that a party needs to know of a deployment; GET /model answers it.

    `client_sha256` is the digest of the engine's client files, which GET /model/client answers.
    """

    format: Literal[1] = 1
    engine: EngineFacts
    model_version: str
    schema_: Schema = Field(alias="schema")
    programs: dict[str, ProgramFacts]
    slots: tuple[Slot, ...]
    client_sha256: str
    versions: dict[str, str]

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True
    )


class KeyPair(_Facts):
    """What key generation gives: `secret` never leaves the key holder, `evaluation` is sent.

    `secret` is the engine's own serialisation; `evaluation` is a sealed message.
    """

    secret: bytes = Field(repr=False)
    evaluation: bytes = Field(repr=False)


class PartyEngine(ABC):
    """The half of an engine that runs in a party's own process."""

    facts: EngineFacts

    @abstractmethod
    def make_keys(self) -> KeyPair:
        """New keys, with randomness from the operating system."""

    @abstractmethod
    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        """Seal the encryption of one party's bits, shape (bits of the party,).

        Raises MalformedMessage where `secret` is not a key of this engine.
        """

    def encrypt_explanation(self, bits: Bits, secret: bytes) -> bytes | None:
        """The extra message that `explain` needs from the owner of the explained column.

        None where the engine explains on the inputs already sent.
        """
        return None

    @abstractmethod
    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        """Decrypt a sealed result into its scores, in the order of the program's outputs.

        Engines with a fixed-point program answer exact integers. Raises MalformedMessage,
        ForeignMessage.
        """


class KeyShare(_Facts):
    """A party's part in a collective key: `secret` never leaves its process, `share` is sent."""

    secret: bytes = Field(repr=False)
    share: bytes


class JointPartyEngine(ABC):
    """The half of an engine with a collective key that runs in one party's own process.

    The parties' joint protocol (parties/joint) calls it step by step. Mappings go from party name
    to bytes and hold exactly the schema's parties. Whatever comes from another party is checked
    before it is used; every method that takes such bytes raises MalformedMessage.
    """

    facts: EngineFacts

    @abstractmethod
    def seed_share(self) -> bytes:
        """A party's fresh share of the common public randomness."""

    @abstractmethod
    def common(self, context: bytes, seeds: Mapping[str, bytes]) -> bytes:
        """The common public randomness of one application, which `context` names."""

    @abstractmethod
    def key_share(self, common: bytes) -> KeyShare:
        """A fresh secret of one party, and its share of the public key."""

    @abstractmethod
    def collective_key(self, common: bytes, shares: Mapping[str, bytes]) -> bytes:
        """The public key whose secret is the sum of the parties' secrets."""

    @abstractmethod
    def check_share(self, public_key: bytes, secret: bytes) -> bytes:
        """A party's part in opening the known vector that belongs to a public key."""

    @abstractmethod
    def check_key(self, public_key: bytes, shares: Mapping[str, bytes]) -> None:
        """Open the known vector; raises KeyCheckFailed where it is not what it has to be."""

    @abstractmethod
    def seal_public_key(self, party: str, public_key: bytes) -> bytes:
        """The message by which `party` gives the server the public key."""

    @abstractmethod
    def encrypt(self, party: str, bits: Bits, public_key: bytes) -> bytes:
        """Seal a fresh encryption of one party's bits, shape (bits of the party,)."""

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
        """A party's part in opening a sealed result; the same for the same result.

        `pairwise` holds, for every other party, a key of 32 bytes that only the two know; with it
        the parts hide everything but their sum. Raises ForeignMessage.
        """

    @abstractmethod
    def combine(
        self, program: str, result: bytes, partials: Mapping[str, bytes]
    ) -> tuple[float, ...]:
        """The scores of a sealed result, exact integers, in the order of the program's outputs.

        Raises ForeignMessage, OpeningFailed where a part is found not to fit.
        """


class ServerEngine(ABC):
    """The half of an engine that runs on the server, in a worker process."""

    facts: EngineFacts
    public: PublicModel

    @abstractmethod
    def client_files(self) -> bytes:
        """The zip archive of which a PartyEngine is made."""

    @abstractmethod
    def check(self, slot: Slot, message: bytes | memoryview, intact: bool = False) -> None:
        """Conformance of one uploaded message, as far as the engine can tell before it is used.

        `intact` says that the message's digest has been compared already. To be called in a
        worker, since it may reach native code. Raises MalformedMessage, ForeignMessage.
        """

    @abstractmethod
    def evaluate(
        self,
        program: str,
        messages: Mapping[tuple[str, str], bytes],
        progress: Progress | None = None,
    ) -> bytes:
        """Run a program on the messages of an application, keyed by (party, file name).

        Answers the sealed result. Raises MalformedMessage, ForeignMessage, EvaluationFailed.
        """

    def warm(self, messages: Mapping[tuple[str, str], bytes]) -> None:
        """Do ahead of the first run what can be done once the evaluation key is there."""
        return

    def forget(self, digests: Collection[bytes]) -> None:
        """Drop whatever is kept of earlier messages, which their last bytes name.

        Those are what `engines.envelope.digest_of` answers. Digests of messages of which nothing is
        kept are fine. May be called while another thread is in `evaluate`, which goes on with what
        it holds.
        """
        return


def slot_of(slots: tuple[Slot, ...], party: str, file_name: str) -> Slot | None:
    """The slot of that party under that name, or None."""
    return next((s for s in slots if (s.party, s.file_name) == (party, file_name)), None)
