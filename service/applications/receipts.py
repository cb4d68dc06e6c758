"""The parties' consent receipts, kept for decision files until the application is erased.

A party signs one receipt for each program that it agrees to, with the key of its permits. A receipt
is accepted if it is for exactly that: this application, this party, one program that uses its data,
and consent that was given. It can be replaced until the program runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from engines.interface import PROGRAMS, PublicModel
from governance.canonical import PROOF, canonical
from governance.canonical import digest as digest_of
from governance.program_permits import action_of, parties_of, run_claim
from governance.receipts import Receipt
from service.applications.rules import ACTIVE, run_of
from service.applications.views import ApplicationView
from service.storage.prepared import Prepared
from service.storage.tables import DONE, PermitRecord, ReceiptRecord, table_of
from utils.errors import ReceiptInvalid

_PERMITS, _RECEIPTS = table_of(PermitRecord), table_of(ReceiptRecord)
_OF_PROGRAM = Prepared(
    select(_RECEIPTS.c.sha256, _RECEIPTS.c.request_sha256).where(
        _RECEIPTS.c.client_id == bindparam("client_id"),
        _RECEIPTS.c.party == bindparam("party"),
        _RECEIPTS.c.program == bindparam("program"),
    )
)


@dataclass(frozen=True)
class ReceiptDigests:
    """The digests of a receipt and of the request that it names; None without a receipt."""

    sha256: str | None = None
    request_sha256: str | None = None


def receipt_of(session: Session, client_id: str, party: str, program: str) -> ReceiptDigests:
    """Return the digests of a party's receipt for a program."""
    row = _OF_PROGRAM.one_or_none(session, client_id=client_id, party=party, program=program)
    return ReceiptDigests() if row is None else ReceiptDigests(row.sha256, row.request_sha256)


def keep_receipt(
    application: ApplicationView, public: PublicModel, document: Mapping[str, Any]
) -> None:
    """Verify a receipt and store it; permits of its party and program that wait then name it.

    The application's row has to be locked. A receipt for a run that is under way or done is
    verified and dropped. Raises ReceiptInvalid.
    """
    party, program, receipt = _verified(application, public, document)
    if run_of(application, program).status in (*ACTIVE, DONE):
        return
    session, client_id = application.session, application.client_id
    digests = ReceiptDigests(digest_of(dict(document)), receipt.request)
    if receipt_of(session, client_id, party, program) == digests:
        return
    of_party = {"client_id": client_id, "party": party, "program": program}
    session.execute(delete(_RECEIPTS).filter_by(**of_party))
    text = receipt.to_bytes().decode()
    row = {"sha256": digests.sha256, "request_sha256": digests.request_sha256, "document": text}
    session.execute(insert(_RECEIPTS), {**of_party, **row})
    waiting = update(_PERMITS).filter_by(**of_party).where(_PERMITS.c.job.is_(None))
    session.execute(
        waiting.values(receipt_sha256=digests.sha256, request_sha256=digests.request_sha256)
    )


def _verified(
    application: ApplicationView, public: PublicModel, document: Mapping[str, Any]
) -> tuple[str, str, Receipt]:
    """Return the party, the program and the receipt; raises ReceiptInvalid."""
    proof = document.get(PROOF)
    key = proof.get("key") if isinstance(proof, dict) else None
    party = next((row.party for row in application.parties if key and row.permit_key == key), None)
    if party is None:
        raise ReceiptInvalid(
            "The receipt is not signed with a key that a party has registered for this "
            "application; register it when joining, as `permit_key`."
        )
    try:
        receipt = Receipt.parse(canonical(dict(document)), str(key))
    except ValueError as error:
        raise ReceiptInvalid(f"The receipt has no canonical form: {error}.") from error
    if receipt.target != application.client_id or receipt.owner != party:
        raise ReceiptInvalid(
            f"The receipt is for another application or another party's data than {party}'s in "
            "this one; sign a receipt for this application."
        )
    program = next((each for each in PROGRAMS if _is_for(receipt, each)), None)
    if program is None or party not in parties_of(public, program):
        raise ReceiptInvalid(f"The receipt is not for one program here that uses data of {party}.")
    if not receipt.given:
        raise ReceiptInvalid("The receipt does not say that consent was given.")
    return party, program, receipt


def _is_for(receipt: Receipt, program: str) -> bool:
    return receipt.allows(action_of(program)) and receipt.run == run_claim(program)
