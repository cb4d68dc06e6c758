"""Every error that Triseal raises on purpose, in one small tree.

TrisealError
├── FeatureError                 the public contract of the data
│   ├── SchemaInvalid            the schema file itself cannot be used
│   ├── UnknownParty             a party that the schema does not name
│   ├── UnknownColumn            a column that the party does not own
│   └── ValueOutOfDomain         a value that the schema does not allow
├── ModelError                   from booster to integer program
│   ├── UnsupportedBooster       not a binary XGBoost tree booster over the schema's bits
│   ├── ModelTooLarge            deeper or larger than the documented limits
│   ├── ProgramInvalid           a program file that does not hold together
│   ├── NoiseBudgetExceeded      a program that could be decrypted wrongly too often
│   └── TrainingDataInvalid      data that cannot be trained on
├── DeploymentError              what training.compile wrote
│   ├── DeploymentMissing        a file is not there
│   └── DeploymentMixed          files of different compilations or versions
├── EngineError                  the encrypted evaluators
│   ├── EngineUnavailable        the engine is unknown, or its library cannot be loaded
│   ├── KeyMissing               the party has not made its keys yet
│   ├── MalformedMessage         empty, truncated, oversized or random bytes
│   ├── ForeignMessage           well formed, but for another model, engine, party or purpose
│   ├── KeyCheckFailed           the collective key does not fit the parties' shares
│   ├── OpeningFailed            a party's part does not fit the result that is opened
│   └── EvaluationFailed         the worker could not finish the evaluation
├── ProtocolError                the parties' joint protocol
│   ├── NotAuthentic             a message that its sender did not seal for this place
│   ├── MessageRepeated          a second, different message for the same step
│   ├── MessageOutOfOrder        a message before its turn
│   ├── CommitmentBroken         what was opened is not what was committed to
│   ├── PartiesDisagree          the parties do not mean the same model, run or readers
│   └── AlreadyOpened            another ciphertext of a program that was opened once
├── ApplicationError             one credit application on the server
│   ├── ServerBusy               as much is under way as may be; try again a little later
│   │   ├── TooManyApplications  the server keeps as many as it may
│   │   ├── TooManyRequests      one token asks too often, or for too much at once
│   │   ├── QueueFull            as many runs wait as may
│   │   └── StorageFull          the server's disk quota is used up
│   ├── QuotaExceeded            this application has had all that one may have
│   ├── UnknownApplication       no such application, or it has been erased
│   ├── ApplicationExpired       its time is over
│   ├── NotAuthorised            no token, or a wrong one
│   ├── ForbiddenSlot            a good token, but another party's slot
│   ├── ForbiddenScope           a good token that was not given this right
│   ├── UnknownName              a program or file name that does not exist
│   ├── OutOfStep                a call before its turn
│   ├── AlreadySent              a slice that can no longer be replaced
│   ├── AlreadyRunning           two runs at once
│   ├── RunCancelled             the run was ended on request
│   ├── InvalidRequest           a malformed field, such as path characters in an id
│   ├── UnknownHost              a request for a name that is not the server's
│   ├── ForeignOrigin            a call from a page of another origin
│   ├── UnsupportedContent       a body of another content type than the call takes
│   ├── UploadEmpty              nothing was sent
│   ├── UploadTooLarge           more bytes than the slot can hold
│   └── UploadTooSlow            the bytes came too slowly, or stopped
├── StorageError                 where the server keeps things
│   ├── StorageUnavailable       the database or the store of ciphertexts does not answer
│   │   └── DiskFull             the server's disk has no room left
│   └── StoredDataDamaged        what was stored is not what was sent
├── DataFolderInUse              another process already works on the same data
├── FolderNotOurs                a folder to be emptied that holds what Triseal may not have made
├── SettingsInvalid              a setting that cannot be used
├── LimitTooLow                  the system allows this process less than it needs
└── TransportError               between a party and the server
    ├── AddressInvalid           what was given is no address
    ├── ServerUnreachable        nothing answers at the address
    ├── ServerStopping           the server is shutting down; ask again when it is back
    └── PortInUse                another program listens there already

Messages are written for the person who meets them: what is wrong, and what to do. They never
carry a secret: no key, no token, and no value of a record except the one its own owner typed.
`code` is stable and becomes the problem `type` over HTTP (RFC 9457).
"""

from __future__ import annotations

from typing import ClassVar


class TrisealError(Exception):
    """Base of every error raised on purpose.

    `code` is the stable, hyphenated name that clients may rely on.
    """

    code: ClassVar[str] = "triseal-error"

    def __init_subclass__(cls) -> None:
        name = cls.__name__
        cls.code = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code


class FeatureError(TrisealError): ...


class SchemaInvalid(FeatureError): ...


class UnknownParty(FeatureError): ...


class UnknownColumn(FeatureError): ...


class ValueOutOfDomain(FeatureError): ...


class ModelError(TrisealError): ...


class UnsupportedBooster(ModelError): ...


class ModelTooLarge(ModelError): ...


class ProgramInvalid(ModelError): ...


class NoiseBudgetExceeded(ModelError): ...


class TrainingDataInvalid(ModelError): ...


class DeploymentError(TrisealError): ...


class DeploymentMissing(DeploymentError): ...


class DeploymentMixed(DeploymentError): ...


class EngineError(TrisealError): ...


class EngineUnavailable(EngineError): ...


class KeyMissing(EngineError): ...


class MalformedMessage(EngineError): ...


class ForeignMessage(EngineError): ...


class KeyCheckFailed(EngineError): ...


class OpeningFailed(EngineError): ...


class EvaluationFailed(EngineError): ...


class ProtocolError(TrisealError): ...


class NotAuthentic(ProtocolError): ...


class MessageRepeated(ProtocolError): ...


class MessageOutOfOrder(ProtocolError): ...


class CommitmentBroken(ProtocolError): ...


class PartiesDisagree(ProtocolError): ...


class AlreadyOpened(ProtocolError): ...


class ApplicationError(TrisealError): ...


class ServerBusy(ApplicationError):
    """`retry_seconds` is when to ask again; over HTTP it is the header Retry-After."""

    def __init__(self, message: str, retry_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class TooManyApplications(ServerBusy): ...


class TooManyRequests(ServerBusy): ...


class QueueFull(ServerBusy): ...


class StorageFull(ServerBusy): ...


class QuotaExceeded(ApplicationError): ...


class UnknownApplication(ApplicationError): ...


class ApplicationExpired(ApplicationError): ...


class NotAuthorised(ApplicationError): ...


class ForbiddenSlot(ApplicationError): ...


class ForbiddenScope(ApplicationError): ...


class UnknownName(ApplicationError): ...


class OutOfStep(ApplicationError): ...


class AlreadySent(ApplicationError): ...


class AlreadyRunning(ApplicationError): ...


class RunCancelled(ApplicationError): ...


class InvalidRequest(ApplicationError): ...


class UnknownHost(ApplicationError): ...


class ForeignOrigin(ApplicationError): ...


class UnsupportedContent(ApplicationError): ...


class UploadEmpty(ApplicationError): ...


class UploadTooLarge(ApplicationError): ...


class UploadTooSlow(ApplicationError): ...


class StorageError(TrisealError): ...


class StorageUnavailable(StorageError): ...


class DiskFull(StorageUnavailable): ...


class StoredDataDamaged(StorageError): ...


class DataFolderInUse(TrisealError): ...


class FolderNotOurs(TrisealError): ...


class SettingsInvalid(TrisealError): ...


class LimitTooLow(TrisealError): ...


class TransportError(TrisealError): ...


class AddressInvalid(TransportError): ...


class ServerUnreachable(TransportError): ...


class ServerStopping(TransportError): ...


class PortInUse(TransportError): ...


def error_classes() -> dict[str, type[TrisealError]]:
    """Every class of the tree by its `code`, so that a client can raise what a server reported."""
    found: dict[str, type[TrisealError]] = {}
    pending: list[type[TrisealError]] = [TrisealError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
