"""Decisions, explanations and reasons from opened scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from model.explanation import explain_scores
from model.referral import outcome_of
from parties.joint.files import MemberRecord
from parties.results import Decision, ExplanationOpened, ReasonsOpened


def decision_of(public: PublicModel, client_id: str, remembered: MemberRecord) -> Decision | None:
    """Return the decision from the opened score, or None before it is opened."""
    program = public.final(DECIDE)
    scores = remembered.scores.get(program)
    if scores is None:
        return None
    facts, fetched, score = public.programs[program], remembered.results[program], scores[0]
    alone = facts.score_bits <= 1  # the program returns only the sign of the score
    return Decision(
        client_id=client_id,
        approved=score >= 0,
        score=None if alone else score,
        log_odds=None if alone else score / facts.scale,
        reach=float(2 ** max(0, facts.score_bits - 1)),
        size=fetched.size,
        seconds=fetched.seconds,
        sha256=fetched.sha256,
        preview=fetched.preview,
        messages=(),
        referred=outcome_of(scores) == "referred",
    )


def explanation_of(
    public: PublicModel,
    client_id: str,
    remembered: MemberRecord,
    record: Mapping[str, Any] | None,
    run_seconds: float,
) -> ExplanationOpened | None:
    """Return the explanation from all opened scores, or None before they are opened.

    `record` is the reader's own, or None if it sent none: of other parties' columns, it does not
    know the present values.
    """
    schema, program = public.schema_, public.final(EXPLAIN)
    scores, decided = remembered.scores.get(program), remembered.scores.get(public.final(DECIDE))
    if scores is None or decided is None:
        return None
    approved, fetched = decided[0] >= 0, remembered.results[program]
    said = explain_scores(schema, record or {}, approved, scores)
    return ExplanationOpened(client_id, said, run_seconds, fetched.size, fetched.seconds, ())


def reasons_of(
    public: PublicModel, client_id: str, remembered: MemberRecord, run_seconds: float
) -> ReasonsOpened | None:
    """Return the reasons from the opened points or levels, or None before they are opened."""
    program = public.final(REASONS)
    values, decided = remembered.scores.get(program), remembered.scores.get(public.final(DECIDE))
    if values is None or decided is None:
        return None
    fetched = remembered.results[program]
    return ReasonsOpened.of(
        public.schema_,
        client_id,
        decided[0] >= 0,
        values,
        (run_seconds, fetched.size, fetched.seconds),
        (),
    )
