"""The schema: parties, columns, their domains and the explained column, read from a JSON file.

The schema is public data from which the pages' forms, the encoding, the training and the programs
are derived. `Schema.load` reads a file; `Schema.fingerprint` identifies its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from features.rules import MAXIMUM_RULES, Condition, Rule
from features.schema_base import Language, Name, SchemaPart, Text
from utils.errors import SchemaInvalid, UnknownColumn, UnknownParty
from utils.strict_json import parse_json

MAXIMUM_BINS = 64
"""Maximum number of bins of an ordinal column, so that the public cut points reveal little."""
MAXIMUM_STEPS = 16
"""Maximum number of bins for which an explanation varies a column."""
MAXIMUM_PAIRED = 3
"""Maximum number of steps of each column that a pair combines."""
MAXIMUM_EXPLAINED = 48
"""Maximum number of scores of an explanation: every one costs all parties masks and time."""
MAXIMUM_GROUPED = 4096
MAXIMUM_SCHEMA_BYTES = 1 << 20

PartyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
T = TypeVar("T")


def number_text(value: float) -> str:
    """Format a number for identifiers and fields: `10000000`, not `1e+07`."""
    return f"{value:.12g}"


def shown_number(value: float) -> str:
    """Format a number for people to read: `10,000,000`."""
    return f"{value:,.12g}"


def evenly_spread(items: Sequence[T], most: int) -> list[T]:
    """Return all items or, if there are more than `most` (at least 2), so many of them.

    They are evenly spread by position and contain the first and the last.
    """
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


class _Column(SchemaPart):
    name: Name = Field(description="Name in records, CSV headers and messages.")
    label: str = Field(description="Label in the form.", max_length=80)
    help: str = Field(default="", description="One sentence below the field.", max_length=300)
    optional: bool = Field(
        default=False, description="True if the value may be missing; adds a bit."
    )
    source: str | None = Field(
        default=None,
        description="Header of the column in data files, where it is not the name.",
        min_length=1,
        max_length=200,
    )

    added: ClassVar[frozenset[str]] = frozenset({"source"})

    @property
    def header(self) -> str:
        """The header of the column in data files."""
        return self.source or self.name


class BooleanColumn(_Column):
    """A column with two values, encoded as one bit."""

    kind: Literal["boolean"]
    default: bool | None = Field(default=False, description="The form's first value.")
    true_words: list[Text] = Field(
        default_factory=list,
        description="Texts in data files that mean yes, where they are not the usual ones.",
        max_length=16,
    )
    false_words: list[Text] = Field(
        default_factory=list,
        description="Texts in data files that mean no, where they are not the usual ones.",
        max_length=16,
    )

    added: ClassVar[frozenset[str]] = _Column.added | {"true_words", "false_words"}

    @model_validator(mode="after")
    def _check(self) -> BooleanColumn:
        if set(self.true_words) & set(self.false_words):
            raise ValueError(f"{self.name}: a word means both yes and no")
        return self


class OrdinalColumn(_Column):
    """A number, divided into bins by public cuts and encoded as a thermometer code (x >= cut)."""

    kind: Literal["ordinal"]
    unit: str = Field(default="", description="Shown after the number.", max_length=40)
    minimum: float = Field(description="Smallest allowed value.")
    maximum: float = Field(description="Largest allowed value.")
    integer: bool = Field(default=False, description="Whole numbers only.")
    cuts: list[float] = Field(
        description="Public cut points, in rising order.", min_length=1, max_length=MAXIMUM_BINS - 1
    )
    default: float | None = Field(default=None, description="The form's first value.")
    form: Literal["number", "bins"] = Field(
        default="number", description="Whether the form asks for the number or for its bin."
    )
    clip: bool = Field(
        default=False,
        description="True if a value beyond minimum or maximum counts as the nearest of the two.",
    )
    monotone: Literal["free", "rising", "falling"] = Field(
        default="free",
        description="`rising`: train so that a higher value never lowers the score; `falling`: so "
        "that it never raises it.",
    )

    added: ClassVar[frozenset[str]] = _Column.added | {"clip", "monotone"}

    @model_validator(mode="after")
    def _check(self) -> OrdinalColumn:
        if any(a >= b for a, b in pairwise(self.cuts)):
            raise ValueError(f"{self.name}: the cuts must rise strictly")
        if not self.minimum < self.cuts[0] or not self.cuts[-1] <= self.maximum:
            raise ValueError(f"{self.name}: every cut must lie above minimum and within maximum")
        if self.default is not None and not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"{self.name}: the default lies outside minimum and maximum")
        own = [self.minimum, *self.cuts, self.minimum if self.default is None else self.default]
        if self.integer and not all(number.is_integer() for number in own):
            raise ValueError(f"{self.name}: minimum, cuts and default must be whole numbers")
        return self

    def bin_labels(
        self,
        cuts: Sequence[float] | None = None,
        number: Callable[[float], str] = shown_number,
    ) -> list[str]:
        """Return one label per bin, lowest first: for example, `0 to under 2`, `2`, `3 and more`.

        `cuts` are some of the column's cuts, for coarser bins; all of them by default. `number`
        formats their ends.
        """
        edges = [self.minimum, *(self.cuts if cuts is None else cuts)]

        def between(low: float, high: float) -> str:
            if self.integer and high == low + 1:
                return number(low)
            return f"{number(low)} to under {number(high)}"

        return [*map(between, edges, edges[1:]), f"{number(edges[-1])} and more"]

    def bin_floor(self, index: int) -> float:
        """Return the smallest value of bin `index`."""
        return [self.minimum, *self.cuts][index]


class CategoricalColumn(_Column):
    """One of a public list of values, encoded one-hot."""

    kind: Literal["categorical"]
    values: list[Text] = Field(description="Every allowed value.", min_length=2, max_length=64)
    default: str | None = Field(default=None, description="The form's first value.")
    other: str | None = Field(
        default=None, description="The value that stands for every text that is not listed."
    )
    groups: dict[str, list[Text]] = Field(
        default_factory=dict,
        description="For some of the values, the texts in data files that count as this value.",
    )

    added: ClassVar[frozenset[str]] = _Column.added | {"other", "groups"}

    @model_validator(mode="after")
    def _check(self) -> CategoricalColumn:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: a value is listed twice")
        if self.other is not None and self.other not in self.values:
            raise ValueError(f"{self.name}: other must be one of the values")
        if set(self.groups) - set(self.values):
            raise ValueError(f"{self.name}: groups must name values of the column")
        grouped = [text for texts in self.groups.values() for text in texts]
        if len(grouped) > MAXIMUM_GROUPED or len(set(grouped)) != len(grouped):
            raise ValueError(
                f"{self.name}: groups may list {MAXIMUM_GROUPED} texts, each of them once"
            )
        if self.default is not None and self.default not in self.values:
            raise ValueError(f"{self.name}: the default is not among the values")
        return self


Column = Annotated[BooleanColumn | OrdinalColumn | CategoricalColumn, Field(discriminator="kind")]


class Party(SchemaPart):
    """A party and the columns whose values only it knows."""

    name: PartyName = Field(description="Name in messages and API calls.")
    label: str = Field(description="Label on the pages.", max_length=80)
    description: str = Field(default="", description="One sentence.", max_length=300)
    columns: list[Column] = Field(min_length=1, max_length=128)
    address: str = Field(
        default="", description="Name and postal address in notices.", max_length=300
    )
    contact: str = Field(
        default="", description="Telephone, e-mail or web address in notices.", max_length=200
    )

    added: ClassVar[frozenset[str]] = frozenset({"address", "contact"})


class Scale(SchemaPart):
    """A score scale: `points` at approval odds of `odds` to 1; `double` points double the odds.

    Source: N. Siddiqi, Credit Risk Scorecards (2006), chapter 6, "scaling".
    """

    points: float = Field(default=600, ge=0, le=10_000)
    odds: float = Field(default=30, gt=0, le=10_000)
    double: float = Field(default=20, gt=0, le=1000, description="Points to double the odds.")


class Decision(SchemaPart):
    """The decision, and its encoding in the training data."""

    target: Name = Field(description="The label column of the training data.")
    approved_value: Annotated[int, Field(ge=-1000, le=1000)] | Text = Field(
        default=0,
        description="The label that means approval: for example, 0 if 1 means a bad loan, or the "
        "label's text.",
    )
    approved: str = Field(default="approved", max_length=40)
    denied: str = Field(default="denied", max_length=40)
    lender: PartyName | None = Field(
        default=None, description="The party that decides and gives notice; the second by default."
    )
    scale: Scale | None = Field(default=None, description="The score scale of pages and reports.")
    refer_below: float | None = Field(
        default=None,
        description="Width, in log-odds below the cut-off, of the grey zone in which the program "
        "refers the application to a person of the lender; without it, no application is referred.",
        gt=0,
        le=20,
    )
    referred: str = Field(default="referred to a person", max_length=40)
    authority: str = Field(
        default="",
        description="Name and address of the authority that supervises the lender, for notices.",
        max_length=300,
    )

    added: ClassVar[frozenset[str]] = frozenset(
        {"lender", "scale", "refer_below", "referred", "authority"}
    )

    @property
    def not_approved(self) -> str:
        """The words for a score below the cut-off; with a grey zone, it need not be a denial."""
        return self.denied if self.refer_below is None else f"not {self.approved}"


class Alternative(SchemaPart):
    """Another ordinal column that an explanation varies, at some of its cut points."""

    column: Name = Field(description="An ordinal column that the applicant can act on.")
    direction: Literal["more", "less"] = Field(
        default="more", description="The direction in which the column may change."
    )
    steps: list[float] = Field(
        description="Cut points of the column, in rising order; the values that are tried.",
        min_length=1,
        max_length=MAXIMUM_STEPS - 1,
    )
    phrase: str = Field(description="As in: an income of at least 80000 `a year`.", max_length=80)


class Reason(SchemaPart):
    """One principal reason for a denial: its columns and its wording (12 CFR 1002.9(b)(2))."""

    name: Name
    columns: list[Name] = Field(min_length=1, max_length=64)
    text: str = Field(description="Wording in English.", min_length=1, max_length=200)
    texts: dict[Language, Annotated[str, Field(max_length=200)]] = Field(
        default_factory=dict, description="Wording in other languages, by ISO 639-1 code."
    )


class Explanation(SchemaPart):
    """The ordinal column that the explanation varies, and its assumptions."""

    column: Name = Field(description="An ordinal column; the explanation advises more of it.")
    assume: dict[str, bool] = Field(
        default_factory=dict,
        description="Values of boolean columns of the same party while the column varies.",
    )
    phrase: str = Field(description="As in: at least 5 `years of employment`.", max_length=80)
    monotone: bool = Field(
        default=True,
        description="Train so that a higher value of the column never lowers the score; with "
        "direction `less`, so that it never raises it.",
    )
    direction: Literal["more", "less"] = Field(
        default="more", description="Whether more or less of the column is advised."
    )
    steps: list[float] | None = Field(
        default=None,
        description="Cut points of the column that are tried; all where not given, or 15 of them, "
        "evenly spread, if there are more.",
        max_length=MAXIMUM_STEPS - 1,
        min_length=1,
    )
    alternatives: list[Alternative] = Field(
        default_factory=list,
        description="Other columns that the same run varies, each alone.",
        max_length=4,
    )
    pairs: list[tuple[Name, Name]] = Field(
        default_factory=list,
        description="Pairs of varied columns that the same run varies together; of a column with "
        "more than 3 steps, 3 of them, evenly spread.",
        max_length=3,
    )

    added: ClassVar[frozenset[str]] = frozenset({"direction", "steps", "alternatives", "pairs"})


def _raw_columns(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the columns of a document that is not yet validated, as far as it has any."""
    parties = document.get("parties")
    lists = [
        party.get("columns")
        for party in (parties if isinstance(parties, list) else ())
        if isinstance(party, dict)
    ]
    return [
        column
        for columns in lists
        if isinstance(columns, list)
        for column in columns
        if isinstance(column, dict)
    ]


def _fault(error: ErrorDetails) -> str:
    """Return a fault that pydantic found, and for a column's name the field to use instead."""
    text = error["msg"].removeprefix("Value error, ")
    of_column = {"columns", "audit_columns"} & set(map(str, error["loc"]))
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] == "name" and of_column:
        text += ", that is, letters, digits and _; set source to the header of the data files"
    if error["type"] == "missing" and error["loc"][-1] == "cuts":
        text += ": list the numbers at which its bins begin, as training.schema drafts them"
    if error["type"] == "too_long" and error["loc"][-1] == "cuts":
        text += f": a column has at most {MAXIMUM_BINS} bins, so leave out some cuts"
    if error["type"] == "too_short" and error["loc"] == ("parties",):
        text += (
            ": nobody can decrypt alone only if two or more parties hold the key, so give some of "
            "the columns to another party, for example to the bank"
        )
    return text


def _fault_of(condition: Condition, columns: Mapping[str, Column]) -> str:
    """Return the reason why a condition does not fit its columns, or ""."""
    column = columns[condition.column]
    if condition.one_of is not None:
        if isinstance(column, OrdinalColumn):
            return f"{column.name} is ordinal; compare it by at_least, above, at_most or below"
        listed = [True, False] if isinstance(column, BooleanColumn) else column.values
        wrong = [v for v in condition.one_of if v not in listed or type(v) is not type(listed[0])]
        return f"{column.name} is never {wrong[0]!r}" if wrong else ""
    named = [columns[name] for name in condition.columns]
    wrong_kind = [each.name for each in named if not isinstance(each, OrdinalColumn)]
    return f"{wrong_kind[0]} is not ordinal; list its values in one_of" if wrong_kind else ""


class Schema(SchemaPart):
    """A public schema; see the module's docstring."""

    name: Name
    title: str = Field(max_length=120)
    description: str = Field(default="", max_length=600)
    parties: list[Party] = Field(min_length=2, max_length=8)
    decision: Decision
    explanation: Explanation
    audit: list[Name] = Field(
        default_factory=list,
        description="Columns by which the model card breaks down outcomes.",
        max_length=8,
    )
    audit_columns: list[Column] = Field(
        default_factory=list,
        description="Columns of the training data that are only audited: never an input of the "
        "model, and never encrypted.",
        max_length=16,
    )
    reasons: list[Reason] = Field(
        default_factory=list,
        description="The reasons that a denial may state. Without any, each column is a reason.",
        max_length=32,
    )
    rules: list[Rule] = Field(
        default_factory=list,
        description="Combinations of values that contradict each other in one party's record.",
        max_length=MAXIMUM_RULES,
    )
    zero_is_missing: bool = Field(
        default=False,
        description="True if the booster was trained on a sparse matrix of the bits without stored "
        "zeros, so that XGBoost treats every 0 as missing. For imported boosters only.",
    )

    added: ClassVar[frozenset[str]] = frozenset({"audit_columns", "reasons", "rules"})

    @model_validator(mode="before")
    @classmethod
    def _explained_by_default(cls, document: Any) -> Any:
        """Explain by the first ordinal column where the document names none."""
        if not isinstance(document, dict) or "explanation" in document:
            return document
        columns = _raw_columns(document)
        ordinal = next((c for c in columns if c.get("kind") == "ordinal"), None)
        if ordinal is None:
            return document  # refused below: explanation is missing
        name = str(ordinal.get("name"))
        phrase = f"of {ordinal.get('label') or name}"[:80]
        return document | {"explanation": {"column": name, "phrase": phrase, "monotone": False}}

    @model_validator(mode="after")
    def _check(self) -> Schema:
        parties = [party.name for party in self.parties]
        names = [column.name for column in self.columns()]
        audited = [column.name for column in self.audit_columns]
        for kind, listed in (("party", parties), ("column", [*names, *audited])):
            twice = sorted({name for name in listed if listed.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} named twice: {', '.join(twice)}")
        if self.decision.target in [*names, *audited]:
            raise ValueError(f"the target {self.decision.target} must not be a column as well")
        unknown = sorted(set(self.audit) - {*names, *audited})
        if unknown:
            raise ValueError(
                f"audit lists unknown columns: {', '.join(unknown)}; describe a column that is no "
                "input of the model in audit_columns"
            )
        by_name = {c.name: (p.name, c) for p in self.parties for c in p.columns}
        owner, explained = by_name.get(self.explanation.column, (None, None))
        if not isinstance(explained, OrdinalColumn):
            raise ValueError("explanation.column must name an ordinal column of the schema")
        self._check_varied(by_name)
        self._check_reasons(names)
        self._check_rules(by_name)
        if self.decision.lender not in (None, *parties):
            raise ValueError("decision.lender must name a party")
        for name in self.explanation.assume:
            holder, column = by_name.get(name, (None, None))
            if not isinstance(column, BooleanColumn) or holder != owner:
                raise ValueError(
                    f"explanation.assume: {name} must be a boolean column of party {owner}"
                )
        return self

    def _check_varied(self, by_name: dict[str, tuple[str, Column]]) -> None:
        explanation = self.explanation
        varied = [explanation.column, *(each.column for each in explanation.alternatives)]
        if len(set(varied)) != len(varied):
            raise ValueError("explanation.alternatives: a column is varied twice")
        own: list[tuple[str, list[float]]] = [(explanation.column, explanation.steps or [])]
        own += [(each.column, each.steps) for each in explanation.alternatives]
        for name, steps in own:
            column = by_name.get(name, (None, None))[1]
            if not isinstance(column, OrdinalColumn):
                raise ValueError(f"explanation.alternatives: {name} must be an ordinal column")
            if steps != [cut for cut in column.cuts if cut in steps]:
                raise ValueError(f"explanation: the steps of {name} must be cuts, in rising order")
        if len({frozenset(pair) for pair in explanation.pairs}) != len(explanation.pairs):
            raise ValueError("explanation.pairs: a pair is named twice")
        for pair in explanation.pairs:
            if not set(pair) <= set(varied) or pair[0] == pair[1]:
                raise ValueError("explanation.pairs: both columns of a pair must be varied ones")
        outputs = self.explained_outputs
        if outputs > MAXIMUM_EXPLAINED:
            raise ValueError(
                f"explanation: its columns, alternatives and pairs make {outputs} scores, more "
                f"than {MAXIMUM_EXPLAINED}; name fewer steps or pairs"
            )

    def _check_reasons(self, names: list[str]) -> None:
        stated = [reason.name for reason in self.reasons]
        covered = [column for reason in self.reasons for column in reason.columns]
        if len(set(stated)) != len(stated) or len(set(covered)) != len(covered):
            raise ValueError("reasons: a reason or a column is named twice")
        if set(covered) - set(names):
            raise ValueError("reasons: every column must be an input of the model")

    def _check_rules(self, by_name: dict[str, tuple[str, Column]]) -> None:
        if len({rule.name for rule in self.rules}) != len(self.rules):
            raise ValueError("rules: a rule is named twice")
        for rule in self.rules:
            unknown = [name for name in rule.columns if name not in by_name]
            if unknown:
                raise ValueError(
                    f"rules: {rule.name} names {', '.join(unknown)}, which is no input of the model"
                )
            owners = {name: by_name[name][0] for name in rule.columns}
            if len(set(owners.values())) > 1:
                owned = " and ".join(f"{name} of {owner}" for name, owner in owners.items())
                raise ValueError(
                    f"rules: {rule.name} compares {owned}; no party knows the columns of two, so "
                    "nobody could check it: keep a rule to the columns of one party"
                )
            for condition in rule.never:
                fault = _fault_of(condition, {name: by_name[name][1] for name in rule.columns})
                if fault:
                    raise ValueError(f"rules: {rule.name}: {fault}")

    def columns(self) -> Iterator[Column]:
        """Iterate over all columns of the model's inputs, party by party."""
        for party in self.parties:
            yield from party.columns

    @property
    def party_names(self) -> list[str]:
        return [party.name for party in self.parties]

    def party(self, name: str) -> Party:
        """Return the party named `name`; raises UnknownParty."""
        for party in self.parties:
            if party.name == name:
                return party
        raise UnknownParty(
            f"There is no party {name[:40]!r}; the parties are {', '.join(self.party_names)}."
        )

    def column(self, name: str) -> Column:
        """Return the column named `name`; raises UnknownColumn."""
        for column in self.columns():
            if column.name == name:
                return column
        raise UnknownColumn(f"The schema has no column {name[:80]!r}.")

    def ordinal(self, name: str) -> OrdinalColumn:
        """Return the ordinal column named `name`; raises UnknownColumn, SchemaInvalid."""
        column = self.column(name)
        if not isinstance(column, OrdinalColumn):
            raise SchemaInvalid(f"The column {name} must be ordinal.")
        return column

    def owner(self, name: str) -> str:
        """Return the name of the party that owns the column `name`; raises UnknownColumn."""
        for party in self.parties:
            if any(column.name == name for column in party.columns):
                return party.name
        raise UnknownColumn(f"The schema has no column {name[:80]!r}.")

    @property
    def explained_column(self) -> OrdinalColumn:
        return self.ordinal(self.explanation.column)

    @property
    def explained_party(self) -> str:
        """The party that owns the explained column."""
        return self.owner(self.explanation.column)

    @property
    def explained_steps(self) -> list[float]:
        """The cuts of the explained column at which the explanation tries it, in rising order."""
        cuts = self.explained_column.cuts
        return self.explanation.steps or evenly_spread(cuts, MAXIMUM_STEPS - 1)

    @property
    def explained_outputs(self) -> int:
        """The number of scores of an explanation."""
        steps = {each.column: len(each.steps) for each in self.explanation.alternatives}
        alone = 1 + len(self.explained_steps) + sum(steps.values())
        steps[self.explanation.column] = len(self.explained_steps)
        paired = {name: min(count, MAXIMUM_PAIRED) for name, count in steps.items()}
        return alone + sum(paired[a] * paired[b] for a, b in self.explanation.pairs)

    @property
    def lender(self) -> Party:
        """The party that decides and gives notice."""
        name = self.decision.lender or self.parties[1].name
        return self.party(name)

    @property
    def stated_reasons(self) -> list[Reason]:
        """The reasons that a denial may state: those listed, or one for each column."""
        return self.reasons or [
            Reason(name=column.name, columns=[column.name], text=column.label or column.name)
            for column in self.columns()
        ]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal; equal for equal schemas."""
        document = self.model_dump(mode="json")
        if not self.zero_is_missing:
            # Keeps the fingerprints, and so the deployments, of schemas older than this field.
            del document["zero_is_missing"]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def parse(cls, document: Any, source: str = "the schema") -> Schema:
        """Validate a decoded JSON document; raises SchemaInvalid, naming up to five faults."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part)[:64] for part in e['loc']) or 'schema'}: {_fault(e)[:400]}"
                for e in error.errors()[:5]
            )
            raise SchemaInvalid(f"{source} cannot be used: {faults}.") from error

    @classmethod
    def load(cls, path: Path) -> Schema:
        """Read a schema file; raises SchemaInvalid."""
        try:
            if path.stat().st_size > MAXIMUM_SCHEMA_BYTES:
                raise SchemaInvalid(f"{path} is larger than the limit for a schema (1 MiB).")
            document = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SchemaInvalid(f"{path} cannot be read as a JSON schema: {error}") from error
        return cls.parse(document, str(path))
