"""Routes for the log: its checkpoints, entries, proofs, cosignatures, and the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response

from contract.governance import (
    MOST_ENTRIES,
    ConsistencyProof,
    CosignatureRequest,
    InclusionProof,
    Integrity,
    LogEntries,
    LogFacts,
)
from engines.interface import DECIDE
from governance.log.decision_file import DecisionFile
from service.api.dependencies import (
    ClientId,
    GovernanceDep,
    ServicesDep,
    TokenDep,
    count_reading,
)
from service.api.examples import CHECKPOINT
from service.api.openapi import APPLICATION, BODY, READY, TOKEN, content, make_router, problems
from service.governance.log import application_of
from utils.errors import (
    InvalidRequest,
    LogInconsistent,
    OutOfStep,
    ProofInvalid,
    TooManyRequests,
    UnknownName,
)

router = make_router("log")

LARGEST = 2**53 - 1
_READ = (*READY, InvalidRequest, LogInconsistent, TooManyRequests)
_PUBLIC = [Depends(count_reading)]
"""Dependencies of the calls that need no token."""
_Number = Annotated[int, Query(ge=0, le=LARGEST, description="A number of entries.")]
_Size = Annotated[
    int | None,
    Query(ge=0, le=LARGEST, description="Number of entries of the log; all if left out."),
]


@router.get(
    "/log",
    dependencies=_PUBLIC,
    summary="Describe the log",
    response_description="The log's name, size, keys and cosigners.",
    responses=problems(*_READ),
)
def log_facts(governance: GovernanceDep) -> LogFacts:
    """Return the log's name, size and public keys, and the cosigners that the server knows.

    Compare the keys with those that their holders publish themselves.
    """
    return governance.log.facts()


@router.get(
    "/log/checkpoint",
    dependencies=_PUBLIC,
    summary="Fetch a checkpoint",
    response_class=Response,
    responses=content("text/plain", "The checkpoint as a signed note.", CHECKPOINT)
    | problems(*_READ, OutOfStep),
)
def checkpoint(
    governance: GovernanceDep,
    cosigned: Annotated[
        bool, Query(description="Return the newest checkpoint that a cosigner has signed.")
    ] = False,
) -> Response:
    """Return the newest checkpoint: the log's name, size and root, with the log's signature.

    It is a signed note (c2sp.org/tlog-checkpoint) that also has the cosignatures made so far.
    """
    note = governance.checkpoints.note(cosigned=cosigned)
    return Response(note.text(), media_type="text/plain; charset=utf-8")


@router.get(
    "/log/entries",
    dependencies=_PUBLIC,
    summary="List entries of the log",
    response_description="The entries.",
    responses=problems(*_READ),
)
def log_entries(
    governance: GovernanceDep,
    start: Annotated[int, Query(ge=0, le=LARGEST, description="Number of the first entry.")] = 0,
    end: Annotated[
        int, Query(ge=0, le=LARGEST, description="Number after that of the last entry.")
    ] = MOST_ENTRIES,
) -> LogEntries:
    """Return the entries from `start` up to `end`, which is excluded; at most 256.

    An entry has digests and pseudonyms only. The bytes in the log are its canonical JSON
    (RFC 8785).
    """
    return governance.log.entries(start, end)


@router.get(
    "/log/proofs/inclusion",
    dependencies=_PUBLIC,
    summary="Prove an entry",
    response_description="The inclusion proof.",
    responses=problems(*_READ, ProofInvalid),
)
def prove_inclusion(
    governance: GovernanceDep,
    index: Annotated[int, Query(ge=0, le=LARGEST, description="Number of the entry.")],
    size: _Size = None,
) -> InclusionProof:
    """Return the hashes that lead from an entry to the root of the log of `size` entries.

    Name the size of the checkpoint that you hold (RFC 9162, 2.1.3).
    """
    return governance.log.inclusion(index, size)


@router.get(
    "/log/proofs/consistency",
    dependencies=_PUBLIC,
    summary="Prove that the log only grew",
    response_description="The consistency proof.",
    responses=problems(*_READ, ProofInvalid),
)
def prove_consistency(
    governance: GovernanceDep, old: _Number, new: _Size = None
) -> ConsistencyProof:
    """Return the hashes that show that the log of `new` entries continues that of `old` ones.

    Name the sizes of two checkpoints that you hold (RFC 9162, 2.1.4).
    """
    return governance.log.consistency(old, new)


@router.post(
    "/log/cosignatures",
    status_code=204,
    dependencies=_PUBLIC,
    summary="Cosign a checkpoint",
    response_description="The cosignature is stored and is part of the checkpoint.",
    responses=problems(*_READ, *BODY, OutOfStep, ProofInvalid),
)
def cosign(governance: GovernanceDep, body: CosignatureRequest) -> None:
    """Add a cosigner's signature line (c2sp.org/tlog-cosignature) to a checkpoint.

    Only cosigners that the server's operator has configured are accepted; the signature itself
    shows who sends it. Before signing, check that the checkpoint continues the one signed before.
    """
    governance.checkpoints.add(body.size, body.line)


@router.get(
    "/integrity/verify",
    dependencies=_PUBLIC,
    summary="Audit the log",
    response_description="The result of the audit, healthy or with the first fault.",
    responses=problems(*READY, TooManyRequests),
)
def verify_integrity(governance: GovernanceDep) -> Integrity:
    """Compare all stored entries with the stored hashes, the details and the signed checkpoints.

    The result is at most a few seconds old. A server that lies is not found by asking it: for that,
    keep cosigned checkpoints, and verify proofs to them yourself.
    """
    return governance.audits.result()


@router.get(
    "/applications/{client_id}/decision-file",
    summary="Fetch a decision file",
    response_description="The decision file, in canonical JSON.",
    response_model=DecisionFile,
    responses=problems(*APPLICATION, *TOKEN, UnknownName, OutOfStep, LogInconsistent, ProofInvalid),
)
def decision_file(
    client_id: ClientId,
    services: ServicesDep,
    governance: GovernanceDep,
    token: TokenDep,
    program: Annotated[
        str, Query(max_length=40, description="`decide`, `explain` or `reasons`.")
    ] = DECIDE,
) -> Response:
    """Return all that shows offline that a decision was allowed, computed, witnessed and logged.

    It has the parties' consent receipts and permits, the witnesses' signatures on the result, the
    log's entry, and the proof that a cosigned checkpoint includes it. `python verify.py` checks it
    against keys that its reader trusts. Until a checkpoint that includes the entry is cosigned, the
    response is 409. Requires a party's token with the scope `read`, or the watch token.
    """
    found = services.decision_files.file(client_id, token, program, governance)
    name = f"decision-{client_id[:8]}-{program}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(found.to_bytes(), media_type="application/json", headers=headers)


@router.get(
    "/applications/{client_id}/log",
    summary="List the log's entries about an application",
    response_description="The entries, with their details.",
    responses=problems(*APPLICATION, *TOKEN, LogInconsistent),
)
def application_log(
    client_id: ClientId, services: ServicesDep, governance: GovernanceDep, token: TokenDep
) -> LogEntries:
    """Return what was logged about an application: permits, uses and statements of witnesses.

    The details are readable until the application is erased; the entries stay. Requires a party's
    token with the scope `read`, or the watch token.
    """
    services.applications.require_viewer(client_id, token)
    return governance.log.of_person(application_of(client_id))
