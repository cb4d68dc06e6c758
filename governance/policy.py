"""The policy's decision on a use of data, by rules in Cedar (https://www.cedarpolicy.com).

Each field of a use is judged by itself, in the context of all of them, and the use is allowed if
every field is. Nothing is allowed without a rule that permits it, and no rule permits what another
forbids. A rule that cannot be evaluated, on an integer overflow for example, denies the use: Cedar
by itself would ignore the rule, even one that forbids.

A rule that does not read `context.categories` judges a field independently of the others, so that
asking for more fields never makes a denied use allowed. `context.categories` is for rules that
forbid a combination of fields.

    python -m governance.policy check [FOLDER]
    python -m governance.policy explain REQUEST.json [--policies FOLDER]
"""

from __future__ import annotations

from utils.command_line import run_command

import json
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cedarpy

from governance.access import (
    ACTION_WORDS,
    ACTIONS,
    PARTNER_TYPES,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    Access,
    Verdict,
    WouldAllow,
    listed,
)
from governance.categories import (
    CATEGORIES,
    ROW_COUNT,
    UNCLASSIFIED,
    FieldMap,
    with_broader,
)
from governance.obligations import Obligations, RuleObligations, combine, unmasked
from governance.policy_context import context_read_by
from governance.policy_files import (
    PolicyFiles,
    Rule,
    apply_change,
    copy_shipped,
    earlier_texts,
    load_folder,
)
from governance.policy_texts import SHIPPED
from governance.purposes import PURPOSES, purpose_words

__all__ = ["DENY_BY_DEFAULT", "Policies", "apply_change", "copy_shipped", "earlier_texts"]

DENY_BY_DEFAULT = "deny-by-default"
"""In `Verdict.rules`: no rule permits the use."""
NO_FIELDS = "no-fields"
NO_MASK = "no-mask"
RULE_FAILED = "rule-failed"
MOST_KNOWN = 8192
"""Rulings that are remembered."""
MOST_SETS = 256
"""Sets of fields that are remembered as those that are allowed together."""
ROWS = "*"
"""The field that a statistic without fields asks for; no field of a data set has this name."""
_Entities = Callable[[], cedarpy.Entities]
"""Makes the entities of a use, which are needed only if a ruling is not known yet."""


@dataclass(frozen=True)
class _Ruling:
    """Cedar's decision on one field, with the rules that decided."""

    allowed: bool
    rules: tuple[str, ...]


class Policies:
    """A policy that is ready to decide. It is immutable and can be used by several threads."""

    def __init__(self, files: PolicyFiles) -> None:
        self.files = files
        self._schema = cedarpy.Schema.from_str(files.cedar_schema)
        self._policies = cedarpy.PolicySet.from_str(files.cedar)
        self._entities = cedarpy.Entities.from_json_str(
            json.dumps(_entities(files.maps)), self._schema
        )
        self._named = frozenset(name for rule in files.rules.values() for name in rule.fields)
        self._read = context_read_by(files.cedar)
        # A ruling depends on nothing but its key, so that threads may overwrite one another's.
        self._known: dict[Hashable, _Ruling] = {}
        self._known_sets: dict[Hashable, tuple[str, ...]] = {}

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> Policies:
        """Return the policy in a folder; raises PolicyInvalid with file and line."""
        return cls(load_folder(folder))

    @property
    def version(self) -> str:
        """SHA-256 of all files in the order of their names, in hexadecimal."""
        return self.files.version

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules by their ids, in the order of the files."""
        return self.files.rules

    def category_of(self, access: Access, field: str) -> str:
        """Return the category of a field, by the schema's file first."""
        found = self.files.maps.get(access.schema_name)
        if found is not None and field in found.fields:
            return found.fields[field]
        return access.categories.get(field, UNCLASSIFIED)

    def decide(self, access: Access) -> Verdict:
        """Return the verdict on a use. The same use under the same policy has the same verdict."""
        entities = cache(lambda: self._entities_of(access))
        verdict = self._decide(access, entities)
        if verdict.allowed:
            return verdict
        consented = access.model_copy(update={"consent": "given"})
        if access.consent != "given":
            assumed = self._decide(consented, entities)
            if assumed.allowed:
                verdict = verdict.model_copy(update={"awaits_consent": access.consent == "asked"})
            else:
                # What the owner's consent would not change matters more than its absence.
                verdict = assumed
        instead = self._instead(access, consented, entities)
        return verdict.model_copy(update={"would_allow": instead})

    def _decide(self, access: Access, entities: _Entities) -> Verdict:
        rulings = self._rulings(access, entities)
        if not rulings:
            return self._denial((NO_FIELDS,), "The use names no fields; name those that it needs.")
        denied = {field: ruling for field, ruling in rulings.items() if not ruling.allowed}
        if denied:
            return self._denial(_distinct(denied), self._why_denied(access, denied))
        obligations, unmasked = self._obligations(access, rulings)
        rules = _distinct(rulings)
        if unmasked:
            return self._denial(
                (NO_MASK, *rules),
                f"No rule says how to mask {listed(unmasked)}, and nothing is released unmasked.",
            )
        excess = self._excess(access, rules, obligations)
        if excess is not None:
            return excess
        return Verdict(
            allowed=True,
            rules=rules,
            reason=self._reasons(rules),
            policy_version=self.version,
            obligations=obligations,
        )

    def _denial(self, rules: tuple[str, ...], reason: str) -> Verdict:
        return Verdict(allowed=False, rules=rules, reason=reason, policy_version=self.version)

    def _reasons(self, rules: tuple[str, ...]) -> str:
        return " ".join(self.rules[name].reason for name in rules)

    def _why_denied(self, access: Access, denied: Mapping[str, _Ruling]) -> str:
        parts = []
        for name in _distinct(denied):
            fields = listed(
                [
                    "the number of rows" if field == ROWS else field
                    for field, ruling in denied.items()
                    if name in ruling.rules
                ]
            )
            if name == DENY_BY_DEFAULT:
                partner = access.partner.type.replace("_", " ")
                parts.append(
                    f"No rule lets a partner of the type {partner} "
                    f"{ACTION_WORDS[access.action]} {fields} {purpose_words(access.purpose)}."
                )
            elif name == RULE_FAILED:
                parts.append(f"A rule about {fields} could not be evaluated.")
            else:
                parts.append(f"{self.rules[name].reason} ({fields})")
        return " ".join(parts)

    def _obligations(
        self, access: Access, rulings: Mapping[str, _Ruling]
    ) -> tuple[Obligations, tuple[str, ...]]:
        allowing = self._allowing(rulings)
        return combine(allowing, self._categories_of(access), masked=access.action == "release")

    def _allowing(self, rulings: Mapping[str, _Ruling]) -> dict[str, list[RuleObligations]]:
        known = self.files.obligations
        return {field: [known[name] for name in ruling.rules] for field, ruling in rulings.items()}

    def _excess(
        self, access: Access, rules: tuple[str, ...], obligations: Obligations
    ) -> Verdict | None:
        """Return the denial of a use that goes beyond the obligations, or None."""
        checks = (
            ("rate_per_hour", access.uses_this_hour >= obligations.rate_per_hour,
             f"At most {obligations.rate_per_hour} uses an hour are allowed, and "
             f"{access.uses_this_hour} were made in this one."),
            ("rate_per_day", access.uses_this_day >= obligations.rate_per_day,
             f"At most {obligations.rate_per_day} uses a day are allowed, and "
             f"{access.uses_this_day} were made on this one."),
            ("retention_days", access.retention_days > obligations.retention_days,
             f"The result may be kept for at most {obligations.retention_days} days, not "
             f"{access.retention_days}."),
            ("least_rows",
             access.action == "statistic" and access.rows < obligations.least_rows,
             f"A statistic must be about at least {obligations.least_rows} rows, not "
             f"{access.rows}."),
        )  # fmt: skip
        for name, exceeded, reason in checks:
            if exceeded:
                limit = getattr(obligations, name)
                having = [
                    rule for rule in rules if getattr(self.files.obligations[rule], name) == limit
                ]
                return self._denial(tuple(having), reason)
        return None

    def allowed_fields(self, access: Access) -> tuple[str, ...]:
        """Return as many fields of a use as are allowed together, once the owner consents.

        It is `WouldAllow.fields` without the search for other purposes and actions.
        """
        consented = access.model_copy(update={"consent": "given"})
        return self._together(access, consented, cache(lambda: self._entities_of(access)))

    def _together(self, access: Access, consented: Access, entities: _Entities) -> tuple[str, ...]:
        alikes = {field: self._alike(access, field) for field in access.fields}
        # The categories, the only other fact that depends on the fields, are among the alikes.
        key = (*self._use_of(consented, _facts(consented, {})), *alikes.items())
        found = self._known_sets.get(key)
        if found is None:
            found = self._search_together(consented, alikes, entities)
            if len(self._known_sets) >= MOST_SETS:
                self._known_sets.clear()
            self._known_sets[key] = found
        return found

    def _search_together(
        self,
        consented: Access,
        alikes: Mapping[str, tuple[str, bool, str]],
        entities: _Entities,
    ) -> tuple[str, ...]:
        def permits(fields: tuple[str, ...]) -> bool:
            return self._permits(consented.model_copy(update={"fields": fields}), entities)

        alone: dict[tuple[str, bool, str], bool] = {}
        for field, alike in alikes.items():
            if alike not in alone:
                alone[alike] = permits((field,))
        fields = tuple(field for field, alike in alikes.items() if alone[alike])
        if not fields or permits(fields):
            return fields
        together: tuple[str, ...] = ()  # a rule forbids a combination
        for field in fields:
            if permits((*together, field)):
                together = (*together, field)
        return together

    def _instead(self, access: Access, consented: Access, entities: _Entities) -> WouldAllow:
        def permits(**changes: object) -> bool:
            return self._permits(consented.model_copy(update=changes), entities)

        fields = self._together(access, consented, entities)
        purposes = tuple(p for p in PURPOSES if p != access.purpose and permits(purpose=p))
        actions = tuple(a for a in ACTIONS if a != access.action and permits(action=a))
        found = WouldAllow(
            fields=fields,
            purposes=purposes,
            actions=actions,
            needs_consent=access.consent != "given" and bool(fields or purposes or actions),
        )
        less = consented.model_copy(update={"fields": fields})
        rulings = self._rulings(less, entities)
        if not rulings or not all(ruling.allowed for ruling in rulings.values()):
            return found
        obligations, _ = self._obligations(less, rulings)
        return found.model_copy(update=_limits(access, obligations))

    def _permits(self, access: Access, entities: _Entities) -> bool:
        """Return True if the rules allow a use, whatever their limits of rate, time and rows."""
        rulings = self._rulings(access, entities, stop=True)
        if not rulings or not all(ruling.allowed for ruling in rulings.values()):
            return False
        if access.action != "release":
            return True
        return not unmasked(self._allowing(rulings), self._categories_of(access))

    def _rulings(
        self, access: Access, entities: _Entities, stop: bool = False
    ) -> dict[str, _Ruling]:
        """Return the ruling on each field; with `stop`, only up to the first denial."""
        categories = self._categories_of(access)
        facts = _facts(access, categories)
        use = self._use_of(access, facts)
        rulings: dict[str, _Ruling] = {}
        for field in categories:
            key = (*use, self._alike(access, field))
            ruling = self._known.get(key)
            if ruling is None:
                request = {
                    "principal": _uid("Partner", access.partner.id),
                    "action": _uid("Action", access.action),
                    "resource": _uid("Field", f"{access.schema_name}/{field}"),
                    "context": _context(facts),
                }
                ruling = self._ask(request, entities)
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[key] = ruling
            rulings[field] = ruling
            if stop and not ruling.allowed:
                break
        return rulings

    def _use_of(self, access: Access, facts: Mapping[str, Hashable]) -> tuple[Hashable, ...]:
        """Return all of a use, apart from its fields, that a ruling can depend on."""
        partner = access.partner
        return (
            *(partner.id, partner.type, partner.verified, access.action, access.schema_name),
            *(facts[name] for name in facts if self._read is None or name in self._read),
        )

    def _alike(self, access: Access, field: str) -> tuple[str, bool, str]:
        """Return a key that fields have in common if the rules cannot tell them apart."""
        uid = f"{access.schema_name}/{field}"
        category = ROW_COUNT if field == ROWS else self.category_of(access, field)
        return category, self._is_mapped(access, field), uid if uid in self._named else ""

    def _ask(self, request: dict[str, Any], entities: _Entities) -> _Ruling:
        # Without the schema, which checks what `_context` and `_entities_of` always keep to.
        found = cedarpy.is_authorized(request, self._policies, entities())
        if found.diagnostics.errors or found.decision is cedarpy.Decision.NoDecision:
            return _Ruling(False, (RULE_FAILED,))
        names = found.diagnostics.id_annotations_by_reason
        rules = tuple(name for name in self.rules if name in names.values())
        return _Ruling(found.allowed and bool(rules), rules or (DENY_BY_DEFAULT,))

    def _categories_of(self, access: Access) -> dict[str, str]:
        if access.fields or access.action != "statistic":
            return {field: self.category_of(access, field) for field in access.fields}
        return {ROWS: ROW_COUNT}

    def _is_mapped(self, access: Access, field: str) -> bool:
        found = self.files.maps.get(access.schema_name)
        return found is not None and (field in found.fields or field == ROWS)

    def _entities_of(self, access: Access) -> cedarpy.Entities:
        """Return the entities with the partner and with the fields that no file names."""
        partner = access.partner
        delta = [
            _entity(
                "Partner",
                partner.id,
                [_uid("PartnerType", partner.type)],
                {"verified": partner.verified},
            )
        ]
        schema = self.files.maps.get(access.schema_name)
        for field in dict.fromkeys((*access.fields, ROWS)):
            if schema is None or field not in schema.fields:
                category = ROW_COUNT if field == ROWS else self.category_of(access, field)
                parents = [_uid("Category", category)]
                if self._is_mapped(access, field):
                    parents.append(_uid("Schema", access.schema_name))
                delta.append(_entity("Field", f"{access.schema_name}/{field}", parents))
        return self._entities.with_added_json_str(json.dumps(delta))


def _facts(access: Access, categories: Mapping[str, str]) -> dict[str, Hashable]:
    """Return the context of a use, with a text for each entity."""
    asked = {name for each in set(categories.values()) for name in with_broader(each)}
    return {
        "purpose": access.purpose,
        "consent": access.consent,
        "data_set": access.data_set,
        "categories": tuple(sorted(asked)),
        "hour": access.time // SECONDS_PER_HOUR % 24,
        "time": access.time,
        "uses_this_hour": access.uses_this_hour,
        "uses_this_day": access.uses_this_day,
        "rows": access.rows,
        "retention_days": access.retention_days,
    }


def _context(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context in the form of Cedar's requests."""
    return {
        **facts,
        "purpose": {"__entity": _uid("Purpose", facts["purpose"])},
        "categories": [{"__entity": _uid("Category", name)} for name in facts["categories"]],
    }


def _distinct(rulings: Mapping[str, _Ruling]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for ruling in rulings.values() for name in ruling.rules))


def _limits(access: Access, obligations: Obligations) -> dict[str, int]:
    found: dict[str, int] = {}
    if access.retention_days > obligations.retention_days:
        found["retention_days"] = obligations.retention_days
    if access.action == "statistic" and access.rows < obligations.least_rows:
        found["least_rows"] = obligations.least_rows
    if access.uses_this_day >= obligations.rate_per_day:
        found["after_seconds"] = SECONDS_PER_DAY - access.time % SECONDS_PER_DAY
    elif access.uses_this_hour >= obligations.rate_per_hour:
        found["after_seconds"] = SECONDS_PER_HOUR - access.time % SECONDS_PER_HOUR
    return found


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _entity(
    kind: str, name: str, parents: list[dict[str, str]], attrs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"uid": _uid(kind, name), "attrs": attrs or {}, "parents": parents}


def _entities(maps: Mapping[str, FieldMap]) -> list[dict[str, Any]]:
    found = [_entity("PartnerType", name, []) for name in PARTNER_TYPES]
    for name, each in CATEGORIES.items():
        found.append(_entity("Category", name, [_uid("Category", b) for b in each.broader]))
    for term, purpose in PURPOSES.items():
        found.append(_entity("Purpose", term, [_uid("Purpose", b) for b in purpose.broader]))
    for schema in maps.values():
        found.append(_entity("Schema", schema.name, []))
        for field, category in schema.fields.items():
            parents = [_uid("Category", category), _uid("Schema", schema.name)]
            found.append(_entity("Field", f"{schema.name}/{field}", parents))
    return found


if __name__ == "__main__":
    from governance.policy_command import main

    run_command(lambda: main(sys.argv[1:]))
