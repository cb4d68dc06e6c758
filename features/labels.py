"""The label column of training data: which of its two labels means approval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from features.cells import is_missing, plain_name, word, yes_or_no
from features.numbers import plain_number
from features.schema import Decision

_GOOD = """good goods paid repaid fully_paid paid_off paid_in_full approved approve accepted accept
granted current performing non_default no_default not_default nondefault non_defaulted ok
creditworthy gut gute kein_ausfall bezahlt bewilligt bon accepte paye bueno aprobado pagado +"""
_BAD = """bad bads default defaulted in_default unpaid not_paid charged_off charge_off chargeoff
written_off delinquent late denied deny rejected reject declined decline refused non_performing
nonperforming not_creditworthy schlecht schlechte ausfall abgelehnt mauvais refuse impaye malo
rechazado impagado -"""
GOOD_WORDS, BAD_WORDS = frozenset(_GOOD.split()), frozenset(_BAD.split())
"""Labels of loans and applications that mean approval and denial, in the form of `_key`."""
MEANS_APPROVAL = "means approval"
"""The words of the note that says which label is approval, where the labels are not 0 and 1."""
_NUMBER_PAIRS = ({0.0, 1.0}, {1.0, 2.0}, {-1.0, 1.0})


@dataclass
class ReadLabels:
    """For each distinct text, True for approved, False for denied, None for no label.

    `fault` says why the labels cannot be used, and `position` names a text that shows it.
    """

    approved: list[bool | None]
    fault: str | None = None
    position: int = 0
    notes: list[str] = field(default_factory=list)


def read_labels(
    target: str, decision: Decision, texts: Sequence[str], rows: Sequence[int]
) -> ReadLabels:
    """Return the outcome that each distinct text of the label column means.

    A label is approval if `decision.approved_value` is that label. For numbers, yes and no, it may
    also be 0 or 1: no and the smaller number count as 0, yes and the larger number as 1. Known
    words, such as good and bad, say themselves which of them is approval.
    """
    signs = {text.strip() for text in texts if text.strip()} == {"+", "-"}
    missing = [not text.strip() or (is_missing(text) and not signs) for text in texts]
    read = ReadLabels([None] * len(texts))
    given = [i for i, absent in enumerate(missing) if not absent]
    left_out = sum(rows[i] for i, absent in enumerate(missing) if absent)
    words = {word(texts[i]): texts[i].strip() for i in given}
    numbers = {each: plain_number(each) for each in words}
    soft = [i for i in given if (n := numbers[word(texts[i])]) is not None and n % 1]
    if not given:
        read.fault = f"no row has a {target}; choose another label column with --target"
    elif soft:
        read.position = soft[0]
        read.fault = (
            f"{target} has probabilities or other decimals instead of two labels; round them to 0 "
            "and 1 at the share from which a loan counts as bad"
        )
    elif len(words) > 2 and None in map(yes_or_no, words):
        first_two = list(words)[:2]
        read.position = next(i for i in given if word(texts[i]) not in first_two)
        shown = ", ".join(text[:40] for text in list(words.values())[:5])
        read.fault = (
            f"{target} must have two labels, such as yes or no, but contains {shown}"
            f"{' …' if len(words) > 5 else ''}; leave out the rows of all others"
        )
    if read.fault:
        return read
    approved, note = _approved(target, decision, words, numbers)
    if approved is None:
        read.fault = note
        return read
    for i in given:
        read.approved[i] = word(texts[i]) in approved
    if note:
        read.notes.append(note)
    if left_out:
        some = "1 row has" if left_out == 1 else f"{left_out} rows have"
        read.notes.append(f"{some} no {target} and {'is' if left_out == 1 else 'are'} left out.")
    return read


def _key(text: str) -> str:
    return plain_name(text) or text


def _approved(
    target: str, decision: Decision, words: dict[str, str], numbers: dict[str, float | None]
) -> tuple[set[str] | None, str]:
    """Return the words that mean approval, and a note; or None and the reason of a refusal."""
    value = decision.approved_value
    wanted = word(str(value))
    named = " or ".join(f'"{text[:60]}"' for text in words.values())
    setting = "decision.approved_value in the schema"
    usual = set(words) <= {"0", "1"}
    # A number beside a word is no pair of labels, except for the spellings of yes and no.
    alike = len({number is None for number in numbers.values()}) == 1
    if (
        wanted in words
        and len(words) <= 2
        and alike
        and "approved_value" in decision.model_fields_set
    ):
        return {wanted}, "" if usual else _meaning(target, words, {wanted})
    known = {each: _known(each) for each in words}
    if None not in known.values() and len(set(known.values())) == len(words):
        good = {each for each, approval in known.items() if approval}
        return good, _meaning(target, words, good)
    if isinstance(value, str):
        return None, (
            f"{target} has the labels {named}, and none of them is {setting} ({value[:60]}); set "
            "it to the label that means approval"
        )
    ones = _ones(words, numbers)
    if ones is None or value not in (0, 1):
        return None, (
            f"{target} has the labels {named}; set {setting} to the one that means approval"
        )
    approved = ones if value else set(words) - ones
    return approved, "" if usual else _meaning(target, words, approved)


def _known(label: str) -> bool | None:
    key = _key(label)
    if key in GOOD_WORDS:
        return True
    return False if key in BAD_WORDS else None


def _ones(words: dict[str, str], numbers: dict[str, float | None]) -> set[str] | None:
    """Return the labels that count as 1, or None if they are not yes and no, or known numbers."""
    if None not in map(yes_or_no, words):
        return {each for each in words if yes_or_no(each)}
    if set(numbers.values()) not in _NUMBER_PAIRS:
        return None
    return {max(words, key=lambda each: numbers[each] or 0)}


def _meaning(target: str, words: dict[str, str], approved: set[str]) -> str:
    good = ", ".join(text for each, text in words.items() if each in approved)
    bad = ", ".join(text for each, text in words.items() if each not in approved)
    means = [f"{good} {MEANS_APPROVAL}"] if good else []
    means += [f"{bad} means denial"] if bad else []
    return (
        f"{target}: {', and '.join(means)}; if that is wrong, set decision.approved_value in the "
        "schema to the label that means approval."
    )
