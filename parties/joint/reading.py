"""Decisions, explanations and reasons from opened scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from features.schema import Schema, number_text
from model.explanation import CAVEAT, Explanation, Outcome, explain_scores
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
    )


def explanation_of(
    public: PublicModel,
    client_id: str,
    remembered: MemberRecord,
    record: Mapping[str, Any] | None,
    run_seconds: float,
) -> ExplanationOpened | None:
    """Return the explanation from the opened scores of all bins, or None before they are opened.

    `record` is that of the explained column's owner. It is None for the other parties: they do not
    know the applicant's own bin, and their explanation is about the column alone.
    """
    schema, program = public.schema_, public.final(EXPLAIN)
    scores, decided = remembered.scores.get(program), remembered.scores.get(public.final(DECIDE))
    if scores is None or decided is None:
        return None
    approved, fetched = decided[0] >= 0, remembered.results[program]
    if record is None:
        said = _for_others(schema, approved, scores)
    else:
        said = explain_scores(schema, record, approved, scores)
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


def _for_others(schema: Schema, approved: bool, scores: Sequence[float]) -> Explanation:
    labels = schema.explained_column.bin_labels()
    first = len(labels) - len(scores)
    decision, phrase = schema.decision, schema.explanation.phrase
    turning = next((b for b in range(first, len(labels)) if scores[b - first] >= 0), None)
    if approved:
        outcome, turning = Outcome.ALREADY_APPROVED, None
        text = f"The application is already {decision.approved}; nothing needs to change."
    elif turning is None:
        outcome = Outcome.NOT_TURNED
        text = (
            f"Even the most {phrase} would likely not have changed this decision; other factors "
            f"weigh more. {CAVEAT}"
        )
    else:
        outcome = Outcome.TURNED
        floor = number_text(schema.explained_column.bin_floor(turning))
        owner = schema.party(schema.explained_party).label.lower()
        text = (
            f"From {floor} {phrase} on, and all else equal, the model would likely have "
            f"{decision.approved} the application; the {owner} holds the present number. "
            f"{CAVEAT}"
        )
    return Explanation(outcome, text, tuple(labels[first:]), tuple(scores), -1, turning)
