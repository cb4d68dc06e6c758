"""Consistency checks on the contents of messages that are authentic and in turn."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from engines.interface import DECIDE
from engines.statement import Statement, verify_statement
from parties.joint.channel import commitment
from parties.joint.conversation import Conversation
from parties.joint.identities import require_identity
from parties.joint.messages import (
    RECORD_COMMIT,
    SHARE_COMMIT,
    Agreement,
    Confirmation,
    Hello,
    JointMessage,
    Partial,
    RecordCommit,
    ShareCommit,
    ShareOpen,
)
from utils.errors import CommitmentBroken, PartiesDisagree


def check(talk: Conversation, sender: str, step: str, message: JointMessage) -> None:
    """Check a message, not yet in the inbox, against all earlier messages.

    Raises IdentityMismatch, CommitmentBroken or PartiesDisagree.
    """
    match message:
        case Hello():
            require_identity(talk.application, sender, message, talk.state.pins.get(sender))
            _same_application(talk, sender, message)
        case ShareOpen():
            promised = talk.state.said(ShareCommit, SHARE_COMMIT)[sender].digest
            _as_promised(talk, sender, SHARE_COMMIT, promised, message.nonce, message.share)
        case RecordCommit():
            _own_record(talk, sender, message)
            _masks_stated(talk, sender, DECIDE, message.masks)
        case Agreement():
            _same_key(talk, sender, message.public_key_digest)
            _same_inputs(talk, sender, step, message)
            _committed_masks(talk, sender, message)
            _opened_nonce(talk, sender, message)
        case Confirmation() | Partial():
            _same_program(sender, step, message.program)
            for name, other in talk.confirmations(message.program).items():
                theirs = name if sender == talk.party else sender
                same_result(theirs, message.program, message.result_sha256, other.result_sha256)


def same_result(sender: str, program: str, theirs: str, ours: str) -> None:
    """Raise PartiesDisagree if two parties were given different results to open."""
    if theirs != ours:
        raise PartiesDisagree(
            f"The server gave {sender} a different result of {program} than this party; neither "
            "can be opened. Do not use this server's results; open a new application."
        )


def require_signatures(
    talk: Conversation, statement: Statement, signatures: Mapping[str, bytes]
) -> None:
    """Raise ResultNotWitnessed unless every witness of the application signed the statement."""
    for key, name in talk.witnesses.items():
        verify_statement(statement, bytes.fromhex(key), signatures.get(key, b""), name)


def _same_application(talk: Conversation, sender: str, hello: Hello) -> None:
    own = talk.state.hello_of(talk.party)
    if hello.model_version != own.model_version:
        raise PartiesDisagree(
            f"{sender} uses model {hello.model_version[:12]}, this party "
            f"{own.model_version[:12]}: load the current model at every party and open a new "
            "application."
        )
    _same_model(sender, hello, own)
    for result, theirs, ours in (
        ("decision", hello.readers, own.readers),
        ("explanation", hello.explanation_readers, own.explanation_readers),
        ("reasons", hello.reasons_readers, own.reasons_readers),
    ):
        if theirs != ours:
            raise PartiesDisagree(
                f"The server named {_names(theirs)} to {sender} as readers of the {result}, but "
                f"{_names(ours)} to this party. Open a new application."
            )
    _same_witnesses(sender, hello.witnesses, own.witnesses)


def _names(parties: tuple[str, ...]) -> str:
    return ", ".join(parties) or "nobody"


def _same_witnesses(sender: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    if set(theirs) != set(ours):  # the names are each party's own
        raise PartiesDisagree(
            f"{sender} requires the signatures of {_listed(theirs)}, but this party those of "
            f"{_listed(ours)}. Agree on the witnesses (TRISEAL_TRUSTED_WITNESSES), and open a new "
            "application."
        )


def _listed(witnesses: Mapping[str, str]) -> str:
    named = [f"the witness {name} ({key[:8]})" for key, name in witnesses.items()]
    return ", ".join(named) or "no witness"


def _same_model(sender: str, hello: Hello, own: Hello) -> None:
    """Raise PartiesDisagree unless both parties have the same public model and client files."""
    theirs, ours = (hello.model_sha256, hello.client_sha256), (own.model_sha256, own.client_sha256)
    if theirs != ours:
        raise PartiesDisagree(
            f"The server gave {sender} and this party different models under one version; no key "
            "is made. Restart every party's process and open a new application. If this happens "
            "again, do not use this server."
        )


def _as_promised(
    talk: Conversation, sender: str, step: str, promised: str, nonce: bytes, value: bytes
) -> None:
    found = commitment(talk.application, sender, step, nonce, value)
    if not hmac.compare_digest(found, promised):
        raise CommitmentBroken(
            f"{sender} opened a different value than it committed to; its message was refused. "
            f"Open a new application, and ask {sender} for the cause."
        )


def _same_key(talk: Conversation, sender: str, digest: str) -> None:
    if digest != hashlib.sha256(talk.state.public_key).hexdigest():
        raise PartiesDisagree(
            f"{sender} computed a different public key than this party. Open a new application."
        )


def _same_program(sender: str, step: str, program: str) -> None:
    if step.partition(":")[2] != program:
        raise PartiesDisagree(f"{sender} named the program {program[:16]} in its {step}.")


def _same_inputs(talk: Conversation, sender: str, step: str, message: Agreement) -> None:
    _same_program(sender, step, message.program)
    if set(message.inputs) != set(talk.names):
        raise PartiesDisagree(f"{sender} agreed to inputs of a different set of parties.")
    _masks_stated(talk, sender, message.program, message.masks)
    committed = talk.state.said(RecordCommit, RECORD_COMMIT)
    differing = [p for p in talk.names if committed[p].inputs != message.inputs[p]]
    if differing:
        raise PartiesDisagree(
            f"{sender} agreed to a record of {', '.join(differing)} that was not committed to: it "
            "was replaced after the others were sent, or the server gave a false digest. Open a "
            "new application."
        )


def _masks_stated(talk: Conversation, sender: str, program: str, masks: str | None) -> None:
    """Raise PartiesDisagree unless there is a digest of masks exactly if the program has any."""
    if (masks is not None) is not talk.public.masked(program):
        raise PartiesDisagree(
            f"{sender} takes the scores of {program[:16]} to be opened in another way. Load the "
            "current model at every party and open a new application."
        )


def _committed_masks(talk: Conversation, sender: str, message: Agreement) -> None:
    """Raise PartiesDisagree if the masks of the decision are not those committed to."""
    committed = talk.state.said(RecordCommit, RECORD_COMMIT)[sender].masks
    if message.program == DECIDE and message.masks != committed:
        raise PartiesDisagree(
            f"{sender} replaced its masks of the decision after it had committed to them; they may "
            f"be made from another party's record. Open a new application, and ask {sender} for "
            "the cause."
        )


def _own_record(talk: Conversation, sender: str, message: RecordCommit) -> None:
    for name, other in talk.state.said(RecordCommit, RECORD_COMMIT).items():
        if name != sender and other.inputs == message.inputs:
            raise PartiesDisagree(
                f"{sender} and {name} have committed to the same encrypted record: one of them "
                "copied the other's. Open a new application, and ask both for the cause."
            )


def _opened_nonce(talk: Conversation, sender: str, message: Agreement) -> None:
    if (message.nonce is not None) is not (message.program == DECIDE):
        raise CommitmentBroken(
            f"{sender} did not open the commitment to its nonce with its agreement to the "
            f"decision. Open a new application, and ask {sender} for the cause."
        )
    if message.nonce is not None:
        promised = talk.state.said(RecordCommit, RECORD_COMMIT)[sender].nonce
        _as_promised(talk, sender, RECORD_COMMIT, promised, message.nonce, b"")
