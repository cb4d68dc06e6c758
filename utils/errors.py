"""All errors that Triseal raises deliberately, in one class hierarchy.

TrisealError
├── FeatureError                 errors in the schema or in the data it describes
│   ├── SchemaInvalid            the schema file cannot be read or is not valid
│   ├── UnknownParty             the schema has no party of this name
│   ├── UnknownColumn            the schema has no such column, or the party does not own it
│   ├── ValueOutOfDomain         the schema does not allow this value
│   └── RecordContradictory      values of the record contradict each other by the schema's rules
├── ModelError                   errors while compiling a booster to an integer program
│   ├── UnsupportedBooster       not a binary XGBoost tree booster over the schema's bits
│   ├── ImportRefused            a model to import is not readable or does not fit the schema
│   ├── ModelTooLarge            deeper or larger than the documented limits
│   ├── ProgramInvalid           the program file is inconsistent, or cannot be compiled
│   ├── NoiseBudgetExceeded      the program's decryption failure probability is too high
│   ├── NotMonotone              the program does not keep a direction that the schema asks for
│   └── TrainingDataInvalid      the training data cannot be used
├── DeploymentError              errors in the folder written by training.compile
│   ├── DeploymentMissing        a file is missing
│   └── DeploymentMixed          the files come from different compilations or versions
├── EngineError                  errors of the evaluation engines
│   ├── EngineUnavailable        the engine is unknown, or its library cannot be loaded
│   ├── KeyMissing               the party has not generated its keys yet
│   ├── MalformedMessage         the message is empty, truncated, too large or not decodable
│   ├── ForeignMessage           well formed, but for another model, engine, party or purpose
│   ├── UnsafeParameters         the server asks for an opening outside the party's own bounds
│   ├── OpeningFailed            a party's decryption share does not match the result
│   ├── InvalidInputs            a party has not encrypted the bits of a record
│   ├── ResultDiffers            a repeated evaluation does not give this result
│   └── EvaluationFailed         the worker could not complete the evaluation
├── ProtocolError                errors in the parties' joint protocol
│   ├── NotAuthentic             the message was not sealed by its sender for this step
│   ├── MessageRepeated          a second, different message for the same step
│   ├── IdentityMismatch         the hello is not from the institution that was pinned
│   ├── MessageOutOfOrder        a message for a step that has not been reached
│   ├── CommitmentBroken         the opened value does not match its commitment
│   ├── PartiesDisagree          the parties differ on the model, the run or its readers
│   ├── AlreadyOpened            a different ciphertext for a program that was already opened
│   ├── ResultNotWitnessed       a named witness has not signed exactly this result
│   ├── TrainingUnfinished       a training of several lenders has no model yet
│   ├── LenderAtFault            a lender's message of a secure sum is wrong; it is named
│   │   ├── UnknownLender        the run, or the roster of the step, has no such lender
│   │   ├── UploadInvalid        the vector is for another step or statement, or of wrong length
│   │   ├── UploadRepeated       a second, different vector for the same step
│   │   ├── SignatureInvalid     the lender has not signed this statement
│   │   └── RevealInvalid        a revealed seed or share is not the one committed to
│   ├── TooFewShares             fewer shares of a seed than recover it
│   ├── StepRefused              a lender has gone on, or is bound to another statement
│   └── RosterRefused            a roster is too small, or has changed within a tree
├── ApplicationError             errors of one credit application on the server
│   ├── ServerBusy               a limit is reached for now; retry later
│   │   ├── TooManyApplications  the server's limit of open applications is reached
│   │   ├── TooManyRequests      the token's limit of requests is reached
│   │   ├── QueueFull            the limit of queued runs is reached
│   │   └── StorageFull          the server's storage quota is used up
│   ├── QuotaExceeded            the application's own quota is used up
│   ├── UnknownApplication       the application does not exist or has been erased
│   ├── ApplicationExpired       the application's lifetime is over
│   ├── NotAuthorised            the token is missing or wrong
│   ├── ForbiddenSlot            the token is valid, but the slot belongs to another party
│   ├── ForbiddenScope           the token is valid, but does not grant this right
│   ├── UnknownName              the program or file name does not exist
│   ├── OutOfStep                an earlier step has not been done yet
│   ├── AlreadySent              the message can no longer be replaced
│   ├── AlreadyRunning           the application already has an active run
│   ├── RunCancelled             the run was cancelled on request
│   ├── InvalidRequest           a field is malformed: for example, an id with path characters
│   ├── UnknownHost              the request's Host is not one of the server's names
│   ├── ForeignOrigin            the request comes from a page of another origin
│   ├── UnsupportedContent       the request body has an unsupported content type
│   ├── UploadEmpty              the upload has no content
│   ├── UploadTooLarge           the upload is larger than the slot allows
│   └── UploadTooSlow            the upload was too slow or stalled
├── GovernanceError              errors in asking for, allowing and proving a use of data
│   ├── PolicyInvalid            a policy file cannot be read or does not fit the schema
│   ├── PolicyDenied             no rule of the policy allows the use, or one forbids it
│   ├── RequestClosed            the request is not in a state that allows this step
│   ├── ConsentMissing           the owner of the data has not allowed the use, or no longer does
│   ├── PermitInvalid            the permit is not signed for this use
│   ├── PermitExpired            the permit was issued too long ago
│   ├── PermitSpent              the permit has been used already
│   ├── ReceiptInvalid           the consent receipt is not signed by the owner, or was altered
│   ├── ComputationInvalid       the computation does not fit the data set
│   ├── ComputationTooNarrow     the result would say something about too few rows
│   ├── DataSetInvalid           the data set cannot be read
│   ├── UnknownDataSet           the owner has no such data set
│   ├── StoreLocked              the passphrase or key does not open the data store
│   ├── StoreDamaged             a stored record was altered, cut or swapped
│   ├── LogInconsistent          the log is not the one that was shown before
│   └── ProofInvalid             a proof does not lead to the signed checkpoint
├── FederatedError               errors in training one model by several lenders
│   ├── PlanInvalid              the plan of the training cannot be used
│   ├── PlanRefused              the plan is outside the limits of this lender
│   ├── HistogramInvalid         the opened sums of a step are inconsistent
│   ├── SplitsInvalid            the announced bits, splits or trees do not fit the plan
│   ├── RecordInvalid            the record or model of a finished training cannot be used
│   ├── PrivacyInvalid           the noise or the budget asked for is out of bounds
│   ├── AccountantMissing        the library that computes the budget is not installed
│   ├── UnknownTraining          the agent takes part in no training of this id
│   ├── NoFederatedModel         no finished training on this machine has a model for the call
│   └── ModelNotCompiled         the server does not run the model of the training
├── IdentityError                errors in the files of identity keys
│   ├── IdentityKeyInvalid       the key file is damaged, or other users can read it
│   └── TrustFileInvalid         the trust file cannot be read or is not valid
├── StorageError                 errors of the server's storage
│   ├── StorageUnavailable       the database or the ciphertext store does not respond
│   │   └── DiskFull             the server's disk is full
│   └── StoredDataDamaged        the stored bytes differ from those received
├── DataFolderInUse              another process is using the same data
├── FolderNotOurs                the folder holds files that Triseal may not have created
├── NoticeUnavailable            there is no such notice, or its template cannot be used
├── SettingsInvalid              a setting is not valid
├── LimitTooLow                  a system limit is too low for this process
└── TransportError               errors between a party and the server
    ├── AddressInvalid           the text is not a valid address
    ├── ServerUnreachable        no server responds at the address
    ├── CertificateUntrusted     the certificate at the address is not that of a trusted server
    ├── ServerStopping           the server is shutting down; retry when it is back
    ├── AgentUnreachable         the other side's agent does not respond
    └── PortInUse                another program is already listening on the port

A message says what is wrong and how to fix it. It never contains a secret: no key, no token, and
no record value except one that the reader entered. `code` is stable and becomes the problem `type`
over HTTP (RFC 9457).
"""

from __future__ import annotations

from typing import ClassVar


class TrisealError(Exception):
    """Base class of all errors that Triseal raises deliberately.

    `code` is a stable, hyphenated name on which clients may rely.
    """

    code: ClassVar[str] = "triseal-error"

    def __init_subclass__(cls) -> None:
        name = cls.__name__
        cls.code = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code


class FeatureError(TrisealError):
    """Values or a schema that cannot be used; `columns` are the names of those to correct."""

    def __init__(self, message: str, columns: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.columns = columns


class SchemaInvalid(FeatureError): ...


class UnknownParty(FeatureError): ...


class UnknownColumn(FeatureError): ...


class ValueOutOfDomain(FeatureError): ...


class RecordContradictory(FeatureError):
    """A party's record breaks a rule of the schema; `columns` are the names of those it reads."""


class ModelError(TrisealError): ...


class UnsupportedBooster(ModelError): ...


class ImportRefused(ModelError): ...


class ModelTooLarge(ModelError): ...


class ProgramInvalid(ModelError): ...


class NoiseBudgetExceeded(ModelError): ...


class NotMonotone(ModelError): ...


class TrainingDataInvalid(ModelError): ...


class DeploymentError(TrisealError): ...


class DeploymentMissing(DeploymentError): ...


class DeploymentMixed(DeploymentError): ...


class EngineError(TrisealError): ...


class EngineUnavailable(EngineError): ...


class KeyMissing(EngineError): ...


class MalformedMessage(EngineError): ...


class ForeignMessage(EngineError): ...


class UnsafeParameters(EngineError): ...


class OpeningFailed(EngineError): ...


class InvalidInputs(EngineError): ...


class ResultDiffers(EngineError): ...


class EvaluationFailed(EngineError): ...


class ProtocolError(TrisealError): ...


class NotAuthentic(ProtocolError): ...


class MessageRepeated(ProtocolError): ...


class IdentityMismatch(ProtocolError): ...


class MessageOutOfOrder(ProtocolError): ...


class CommitmentBroken(ProtocolError): ...


class PartiesDisagree(ProtocolError): ...


class AlreadyOpened(ProtocolError): ...


class ResultNotWitnessed(ProtocolError): ...


class LenderAtFault(ProtocolError):
    """A message of the named `lender` is wrong."""

    def __init__(self, message: str, lender: str = "") -> None:
        super().__init__(message)
        self.lender = lender


class TrainingUnfinished(ProtocolError): ...


class UnknownLender(LenderAtFault): ...


class UploadInvalid(LenderAtFault): ...


class UploadRepeated(LenderAtFault): ...


class SignatureInvalid(LenderAtFault): ...


class RevealInvalid(LenderAtFault): ...


class TooFewShares(ProtocolError): ...


class StepRefused(ProtocolError): ...


class RosterRefused(ProtocolError): ...


class ApplicationError(TrisealError): ...


class ServerBusy(ApplicationError):
    """A limit is reached for now; retry after `retry_seconds` (over HTTP, Retry-After)."""

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


class GovernanceError(TrisealError): ...


class PolicyInvalid(GovernanceError): ...


class PolicyDenied(GovernanceError):
    """The policy's `reason`, and the id of the rule that denied (over HTTP, as members)."""

    def __init__(self, message: str, reason: str = "", policy_violation: str = "") -> None:
        super().__init__(message)
        self.reason, self.policy_violation = reason, policy_violation


class RequestClosed(GovernanceError): ...


class ConsentMissing(GovernanceError): ...


class PermitInvalid(GovernanceError): ...


class PermitExpired(GovernanceError): ...


class PermitSpent(GovernanceError): ...


class ReceiptInvalid(GovernanceError): ...


class ComputationInvalid(GovernanceError): ...


class ComputationTooNarrow(GovernanceError): ...


class DataSetInvalid(GovernanceError): ...


class UnknownDataSet(GovernanceError): ...


class StoreLocked(GovernanceError): ...


class StoreDamaged(GovernanceError): ...


class LogInconsistent(GovernanceError): ...


class ProofInvalid(GovernanceError): ...


class FederatedError(TrisealError): ...


class PlanInvalid(FederatedError): ...


class PlanRefused(FederatedError): ...


class RecordInvalid(FederatedError): ...


class HistogramInvalid(FederatedError): ...


class SplitsInvalid(FederatedError): ...


class PrivacyInvalid(FederatedError): ...


class AccountantMissing(FederatedError): ...


class UnknownTraining(FederatedError): ...


class NoFederatedModel(FederatedError): ...


class ModelNotCompiled(FederatedError): ...


class IdentityError(TrisealError): ...


class IdentityKeyInvalid(IdentityError): ...


class TrustFileInvalid(IdentityError): ...


class StorageError(TrisealError): ...


class StorageUnavailable(StorageError): ...


class DiskFull(StorageUnavailable): ...


class StoredDataDamaged(StorageError): ...


class DataFolderInUse(TrisealError): ...


class FolderNotOurs(TrisealError): ...


class NoticeUnavailable(TrisealError): ...


class SettingsInvalid(TrisealError): ...


class LimitTooLow(TrisealError): ...


class TransportError(TrisealError): ...


class AddressInvalid(TransportError): ...


class ServerUnreachable(TransportError): ...


class CertificateUntrusted(TransportError): ...


class ServerStopping(TransportError): ...


class AgentUnreachable(TransportError): ...


class PortInUse(TransportError): ...


def error_classes() -> dict[str, type[TrisealError]]:
    """Return all error classes by `code`, so that a client can raise what a server reported."""
    found: dict[str, type[TrisealError]] = {}
    pending: list[type[TrisealError]] = [TrisealError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
