"""The explanation: one of four outcomes for each varied column, derived from the scores opened.

It only ever advises changes in the direction that the schema states, and only as a likelihood under
this model. A reader knows the present value of its own columns alone; of another party's column it
learns from which value on the decision would be another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

from features.encoding import Layout
from features.schema import Schema
from features.variations import Change, Variation, paired, tried, variations

CAVEAT = "This is a likelihood under this model, not a promise."


class Outcome(StrEnum):
    """The four possible outcomes of an explanation."""

    ALREADY_APPROVED = "already approved"
    TURNED = "more would turn the decision"
    NOT_TURNED = "other factors weigh more"
    AT_MOST = "already at the most"


@dataclass(frozen=True)
class Varied:
    """The outcome of varying one column other than the explained one.

    `scores` belong to the values labelled `steps`, lowest first; `turning` is the index of the
    nearest one that turns the decision, and `distance` the number of steps to it from the present
    value, or from the end where that is unknown. Both are None if none does.
    """

    column: str
    outcome: Outcome
    text: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    turning: int | None
    distance: int | None


@dataclass(frozen=True)
class VariedPair:
    """The nearest change of two columns together that turns the decision.

    `steps` are the labels of both columns' new bins, and `distance` the sum of steps to them.
    """

    columns: tuple[str, str]
    text: str
    steps: tuple[str, str]
    distance: int


@dataclass(frozen=True)
class Explanation:
    """An explanation; `scores` belong to the bins of the explained column labelled `bins`.

    Bin indices count all bins of the column that are tried, `bins` begins with number `first_bin`.
    `current_bin` is -1 if an assumption of the explanation (for example, being employed) does not
    hold, and for a reader that does not own the column.

    `others` are the outcomes of the schema's alternatives, nearest change first; there are none if
    the application is approved already. `pair` is not None only if no column alone turns the
    decision. `opened` has all scores that were opened, in the order of the program's outputs.
    """

    outcome: Outcome
    text: str
    bins: tuple[str, ...]
    scores: tuple[float, ...]
    current_bin: int
    turning_bin: int | None
    first_bin: int = 0
    others: tuple[Varied, ...] = ()
    pair: VariedPair | None = None
    opened: tuple[float, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the explained column, of the others and of the pair, with the caveat."""
        more = [varied.text for varied in self.others]
        if self.pair is not None:
            more.append(self.pair.text)
        if more and not self.text.endswith(CAVEAT):
            more.append(CAVEAT)
        return (self.text, *more)


def current_bin(schema: Schema, record: Mapping[str, Any]) -> int:
    """Return the applicant's bin of the explained column, or -1; raises ValueOutOfDomain.

    Bins are those that are tried; `record` is of the explained column's owner.
    """
    main = variations(schema)[0]
    state = _state(main, schema, record)
    if state is None:
        return -1
    return sum(state >= main.column.cuts.index(step) + 1 for step in schema.explained_steps)


def explain_scores(
    schema: Schema, record: Mapping[str, Any], approved: bool, scores: Sequence[float]
) -> Explanation:
    """Explain to a reader what the scores mean.

    `record` has the columns of one or more parties, whose present values the reader knows. `scores`
    are those of `features.variations` or, from an engine that reruns the decision, those of the
    len(scores) most advised bins of the explained column alone. Raises ValueOutOfDomain.
    """
    reader = _Reader(schema, record)
    main, *alternatives = variations(schema)
    own = tuple(scores[: len(main.bins)])
    first = len(main.bins) - len(own) if main.more else 0
    current = current_bin(schema, record) if reader.knows(main) else -1
    shown = main.shown[first : first + len(own)], own, current
    if approved:
        text = f"The application is already {schema.decision.approved}; nothing needs to change."
        outcome = Outcome.ALREADY_APPROVED
        return Explanation(outcome, text, *shown, None, first, opened=tuple(scores))
    found = _nearest(reader.ahead(main), dict(enumerate(own, first)))
    outcome, text = reader.said(main, found)
    if outcome is not Outcome.AT_MOST:
        text = f"{text} {CAVEAT}"
    turning = None if found is None else found.index
    others: tuple[Varied, ...] = ()
    pair = None
    if len(scores) == schema.explained_outputs:
        given = dict(zip(tried(schema), scores, strict=True))
        others = tuple(sorted((_varied(reader, one, given) for one in alternatives), key=_order))
        if turning is None and all(varied.turning is None for varied in others):
            pair = _pair(reader, given)
    return Explanation(outcome, text, *shown, turning, first, others, pair, tuple(scores))


@dataclass(frozen=True)
class _Found:
    """The nearest bin that turns the decision.

    `onwards` is True if every bin tried beyond it turns the decision as well, so that it may be
    called the least or the most.
    """

    index: int
    distance: int
    onwards: bool


def _nearest(ahead: Sequence[int], scores: Mapping[int, float]) -> _Found | None:
    """Return the first of the bins `ahead`, nearest first, with a score of 0 or more."""
    turned = [scores.get(index, -1) >= 0 for index in ahead]
    if True not in turned:
        return None
    place = turned.index(True)
    return _Found(ahead[place], place + 1, all(turned[place:]))


def _varied(reader: _Reader, one: Variation, given: Mapping[tuple[Change, ...], float]) -> Varied:
    scores = tuple(given[((one.column.name, i),)] for i in range(len(one.bins)))
    found = _nearest(reader.ahead(one), dict(enumerate(scores)))
    outcome, text = reader.said(one, found)
    return Varied(
        column=one.column.name,
        outcome=outcome,
        text=text,
        steps=tuple(one.words(i) for i in range(len(one.bins))),
        scores=scores,
        turning=None if found is None else found.index,
        distance=None if found is None else found.distance,
    )


def _order(varied: Varied) -> tuple[int, int]:
    """Sort the changes that turn the decision first, by distance, then those that are possible."""
    rank = [Outcome.TURNED, Outcome.NOT_TURNED, Outcome.AT_MOST].index(varied.outcome)
    return rank, varied.distance or 0


def _pair(reader: _Reader, given: Mapping[tuple[Change, ...], float]) -> VariedPair | None:
    """Return the nearest combination of any pair that turns the decision, if one does."""
    found: list[VariedPair] = []
    for pair in paired(reader.schema):
        names = [one.column.name for one in pair]
        # Steps of a column are counted as if it changed alone.
        distance = [
            {
                index: place
                for place, index in enumerate(reader.ahead(one), 1)
                if index in one.paired
            }
            for one in pair
        ]
        turned = {
            (i, j): given[(names[0], i), (names[1], j)] >= 0
            for i, j in product(distance[0], distance[1])
        }
        own = [both for both, yes in turned.items() if yes]
        if not own:
            continue
        i, j = min(own, key=lambda both: distance[0][both[0]] + distance[1][both[1]])
        beyond = [
            yes
            for (a, b), yes in turned.items()
            if distance[0][a] >= distance[0][i] and distance[1][b] >= distance[1][j]
        ]
        sum_of_steps = distance[0][i] + distance[1][j]
        text = reader.said_of_pair(pair, (i, j), all(beyond))
        labels = pair[0].words(i), pair[1].words(j)
        found.append(VariedPair((names[0], names[1]), text, labels, sum_of_steps))
    return min(found, key=lambda own: own.distance, default=None)


@dataclass(frozen=True)
class _Reader:
    """A reader, who knows the present values of the parties whose columns `record` has."""

    schema: Schema
    record: Mapping[str, Any]

    def knows(self, one: Variation) -> bool:
        return any(column.name in self.record for column in self.schema.party(one.party).columns)

    def ahead(self, one: Variation) -> list[int]:
        """Return the bins that are changes as advised, nearest first; raises ValueOutOfDomain."""
        return one.ahead(_state(one, self.schema, self.record) if self.knows(one) else None)

    def said(self, one: Variation, found: _Found | None) -> tuple[Outcome, str]:
        """Return the outcome of varying one column, in words."""
        end = "most" if one.more else "least"
        ahead = self.ahead(one)
        if found is not None:
            return Outcome.TURNED, self._turned(one, found)
        if ahead:
            furthest = f"the {end}" if one.whole else one.words(ahead[-1])
            return Outcome.NOT_TURNED, (
                f"Even {furthest} {one.phrase} would likely not have changed this decision; other "
                "factors weigh more."
            )
        if one.whole:
            label = one.shown[-1] if one.more else one.shown[0]
            held = f"the {end} {one.phrase} that the model distinguishes ({label})"
        else:
            last = len(one.bins) - 1 if one.more else 0
            held = f"{one.limit(last)} {one.phrase}, the {end} that this explanation tries"
        return Outcome.AT_MOST, f"The application already has {held}; other factors decided."

    def _turned(self, one: Variation, found: _Found) -> str:
        decided = f"this model would likely have {self._approved}"
        value = one.limit(found.index) if found.onwards else one.words(found.index)
        if self.knows(one):
            assumed = _assumption(one, self.schema, self.record)
            return f"With {value} {one.phrase}{assumed}, and all else equal, {decided}."
        holder = self._holders([one])
        return f"With {value} {one.phrase}, and all else equal, {decided}; {holder}."

    def said_of_pair(
        self, pair: tuple[Variation, Variation], bins: tuple[int, int], onwards: bool
    ) -> str:
        """Return the sentence about two columns' bins that turn the decision together."""
        values = [
            f"{one.limit(index) if onwards else one.words(index)} {one.phrase}"
            + (_assumption(one, self.schema, self.record) if self.knows(one) else "")
            for one, index in zip(pair, bins, strict=True)
        ]
        unknown = [one for one in pair if not self.knows(one)]
        return (
            f"With {' and '.join(values)} together, and all else equal, this model would likely "
            f"have {self._approved}; neither alone would likely have changed the decision"
            f"{'; ' if unknown else ''}{self._holders(unknown)}."
        )

    @property
    def _approved(self) -> str:
        """The approval as the end of a sentence; the first party, the applicant, is addressed."""
        word, applicant = self.schema.decision.approved, self.schema.parties[0]
        if not any(column.name in self.record for column in applicant.columns):
            return f"{word} the application"
        return f"{word} you" if word == "approved" else f"{word} your application"

    def _holders(self, unknown: Sequence[Variation]) -> str:
        """Return a clause that names the parties that know the present values, or nothing."""
        labels = dict.fromkeys(self.schema.party(one.party).label.lower() for one in unknown)
        owners = " and ".join(f"the {label}" for label in labels)
        if len(unknown) < 2:
            return f"{owners} holds the present number" if unknown else ""
        return f"{owners} {'holds' if len(labels) == 1 else 'hold'} the present numbers"


def _state(one: Variation, schema: Schema, record: Mapping[str, Any]) -> int | None:
    """Return the column's bin, or None if it is missing or an assumption does not hold.

    Raises ValueOutOfDomain.
    """
    if _unmet(one, schema, record):
        return None
    state = Layout(schema).code(one.column.name).state(record.get(one.column.name))
    return state if state <= len(one.column.cuts) else None


def _unmet(one: Variation, schema: Schema, record: Mapping[str, Any]) -> dict[str, bool]:
    """Return the assumptions that do not hold for the applicant; raises ValueOutOfDomain."""
    layout = Layout(schema)
    return {
        name: assumed
        for name, assumed in one.assume.items()
        if layout.code(name).state(record.get(name)) != layout.code(name).state(assumed)
    }


def _assumption(one: Variation, schema: Schema, record: Mapping[str, Any]) -> str:
    """Return text in brackets that names the assumptions that do not hold, or nothing."""
    words = [
        f"{'' if assumed else 'not '}being {schema.column(name).label.lower()}"
        for name, assumed in _unmet(one, schema, record).items()
    ]
    return f" ({' and '.join(words)})" if words else ""
