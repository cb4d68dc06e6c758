"""The meaning of a column as its header tells: who knows it, the law on it, and wordings.

The words are in `vocabulary.json`, in English and German, without accents. A column has every
concept of which a phrase occurs in its header, except phrases within a longer one: `account_age`
is no age.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from training.draft.column_names import words

_FILE = Path(__file__).with_name("vocabulary.json")


class Concept(BaseModel):
    """One meaning; `better` is the direction that usually counts in favour of an applicant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    words: tuple[str, ...]
    law: str | None = None
    """The law that keeps such a column out, by its key."""
    caution: str | None = None
    """A rule to check, although the column is used."""
    party: str | None = None
    better: Literal["more", "less"] | None = None
    actionable: bool = False
    nominal: bool = False
    """True if numbers of such a column are codes."""
    terms: bool = False
    """True for terms of the loan, which lender and applicant both know."""
    identifier: bool = False
    reason: tuple[str, str] | None = None
    """Wording of a denial's reason in English and German; after sample form C-1 of Regulation B."""


class Vocabulary(BaseModel):
    """The laws by key, and all concepts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    laws: dict[str, str]
    concepts: tuple[Concept, ...]


@dataclass(frozen=True)
class Meaning:
    """The concepts of one column, that of the longest phrase first."""

    concepts: tuple[Concept, ...] = ()

    @property
    def main(self) -> Concept | None:
        return self.concepts[0] if self.concepts else None

    @property
    def laws(self) -> tuple[str, ...]:
        """The laws that touch the column, in words."""
        found = dict.fromkeys(concept.law for concept in self.concepts if concept.law)
        return tuple(vocabulary().laws[key] for key in found if key)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Rules that a lender should check, in words."""
        return tuple(concept.caution for concept in self.concepts if concept.caution)

    @property
    def nominal(self) -> bool:
        return any(concept.nominal for concept in self.concepts)

    @property
    def identifier(self) -> bool:
        return any(concept.identifier for concept in self.concepts)


@cache
def vocabulary() -> Vocabulary:
    """Return the words of `vocabulary.json`."""
    return Vocabulary.model_validate_json(_FILE.read_bytes())


def meaning_of(header: str) -> Meaning:
    """Return the meaning of a column by the words of its header."""
    found = words(header)
    hits: list[tuple[int, int, int, Concept]] = []
    for concept in vocabulary().concepts:
        for phrase in concept.words:
            parts = phrase.split()
            for start in range(len(found) - len(parts) + 1):
                window = found[start : start + len(parts)]
                if all(fnmatchcase(word, part) for word, part in zip(window, parts, strict=True)):
                    hits.append((len(parts), len("".join(window)), start, concept))
    hits.sort(key=lambda hit: (hit[0], hit[1]), reverse=True)
    kept: list[tuple[int, int, Concept]] = []
    for length, _, start, concept in hits:
        inside = any(
            begin <= start and start + length <= begin + longer and longer > length
            for begin, longer, _ in kept
        )
        if not inside:
            kept.append((start, length, concept))
    return Meaning(tuple(dict.fromkeys(concept for _, _, concept in kept)))
