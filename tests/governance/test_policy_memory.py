"""Remembered rulings are those that Cedar gives when it is asked about each field anew."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import policy
from governance.access import ACTIONS, PARTNER_TYPES, Access, Partner
from governance.categories import CATEGORIES, with_broader
from governance.policy import DENY_BY_DEFAULT, RULE_FAILED, Policies
from governance.policy_context import context_read_by
from governance.purposes import PURPOSES
from tests.governance.test_policy import NOON, policies, record, use

LEAST = {"rate_per_hour": 9, "rate_per_day": 9, "retention_days": 9}
ALLOW = '@id("all") @reason("All.") permit (principal, action, resource) when {{ {} }};'
FORBID = '@id("never") @reason("Never.") forbid (principal, action, resource) when {{ {} }};'
CONDITIONS = (
    'context.consent == "given"',
    "context.time < 1800014400",
    "context.hour < 12 || context.uses_this_day > 3",
    "context has rows && context.rows * context.rows * context.rows > 8",
    "context.rows * context.rows * context.rows * context.rows > 8",  # overflows
    'context.retention_days > 3 && context.data_set like "rec*"',
    'context.categories == [Category::"name"]',
    'context.categories.containsAny([Category::"income", Category::"identity"])',
    "resource in context.categories",
    '{"whole": context}.whole has uses_this_hour && context.uses_this_hour > 3',
    'if context == context then context.purpose in Purpose::"dpv:Marketing" else true',
    'principal == Partner::"partner-1" && principal.verified',
    'resource == Field::"personal_record/name"',
    'resource in Schema::"personal_record"',
)
POLICY = st.builds(
    lambda allowed, forbidden: policies(ALLOW.format(allowed), FORBID.format(forbidden), all=LEAST),
    *[st.sampled_from(CONDITIONS)] * 2,
)


class Forgetful(Policies):
    """The definition: Cedar is asked about each field, with the schema, and nothing is kept."""

    def _rulings(self, access: Access, entities: Any, stop: bool = False) -> dict[str, Any]:
        categories = self._categories_of(access)
        asked = {name for each in categories.values() for name in with_broader(each)}
        context = {
            "purpose": {"__entity": {"type": "Purpose", "id": access.purpose}},
            "consent": access.consent,
            "data_set": access.data_set,
            "categories": [{"__entity": {"type": "Category", "id": name}} for name in asked],
            "hour": access.time // 3600 % 24,
            "time": access.time,
            "uses_this_hour": access.uses_this_hour,
            "uses_this_day": access.uses_this_day,
            "rows": access.rows,
            "retention_days": access.retention_days,
        }
        rulings = {}
        for field in categories:
            request = {
                "principal": {"type": "Partner", "id": access.partner.id},
                "action": {"type": "Action", "id": access.action},
                "resource": {"type": "Field", "id": f"{access.schema_name}/{field}"},
                "context": context,
            }
            found = cedarpy.is_authorized(request, self._policies, entities(), self._schema)
            if found.diagnostics.errors or found.decision is cedarpy.Decision.NoDecision:
                rulings[field] = policy._Ruling(False, (RULE_FAILED,))
                continue
            names = found.diagnostics.id_annotations_by_reason.values()
            rules = tuple(name for name in self.rules if name in names)
            rulings[field] = policy._Ruling(
                found.allowed and bool(rules), rules or (DENY_BY_DEFAULT,)
            )
        return rulings

    def _together(self, access: Access, consented: Access, entities: Any) -> tuple[str, ...]:
        alikes = {field: self._alike(access, field) for field in access.fields}
        return self._search_together(consented, alikes, entities)


def choice(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


USES = st.builds(
    Access,
    partner=st.builds(
        Partner,
        id=choice("partner-1", "partner-2"),
        type=choice(*PARTNER_TYPES),
        verified=st.booleans(),
    ),
    action=choice(*ACTIONS),
    data_set=choice("record", "other"),
    schema_name=choice("personal_record", "own"),
    fields=st.lists(
        choice("name", "income", "email", "account_number", "x"), max_size=4, unique=True
    ).map(tuple),
    categories=st.dictionaries(choice("x", "name"), choice(*CATEGORIES), max_size=2),
    purpose=choice("dpv:CreditChecking", "dpv:Marketing", *PURPOSES),
    consent=choice("given", "given", "asked", "revoked"),
    time=choice(NOON, NOON - 3600, NOON + 1),
    uses_this_hour=choice(0, 5, 10),
    uses_this_day=choice(0, 5),
    rows=choice(1, 3, 10**6),
    retention_days=choice(0, 5, 10),
)


@settings(max_examples=25, deadline=None)
@given(st.none() | POLICY, st.lists(USES, min_size=2, max_size=4))
def test_memory_changes_no_verdict(chosen: Policies | None, uses: list[Access]) -> None:
    fast = chosen or Policies.load()
    slow = Forgetful(fast.files)
    for each in (*uses, uses[0]):
        assert fast.decide(each) == slow.decide(each)
        assert fast.allowed_fields(each) == slow.allowed_fields(each)


def test_control_a_memory_that_ignores_what_a_rule_reads_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = ALLOW.format(f"context.time > {NOON}")
    for read, right in ((context_read_by, True), (lambda _: frozenset({"consent"}), False)):
        monkeypatch.setattr(policy, "context_read_by", read)
        found = policies(late, all=LEAST)
        uses = [use(fields=("Age",), time=NOON + n) for n in (0, 1)]
        assert ([found.decide(each).allowed for each in uses] == [False, True]) is right
        found = policies(late, all=LEAST)
        assert ([found.allowed_fields(each) for each in uses] == [(), ("Age",)]) is right


@pytest.mark.parametrize(
    ("condition", "read"),
    [
        ("true", set()),
        ('context.time > 3 && context["hour"] < 4', {"time", "hour"}),
        ("context has rows", {"rows"}),
        ("context == context", None),
        ('{"a": context}.a has rows && context.rows > 1', None),
        ('"Var" == "context" && {"Var": "context"} has Var', set()),
    ],
)
def test_what_rules_read_is_found(condition: str, read: set[str] | None) -> None:
    assert context_read_by(ALLOW.format(condition)) == read
    assert context_read_by("") == frozenset()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MOST_KNOWN", 5)
    monkeypatch.setattr(policy, "MOST_SETS", 2)
    found = Policies.load()
    for purpose in PURPOSES:
        found.allowed_fields(record(purpose=purpose))
    assert len(found._known) <= 5
    assert 1 <= len(found._known_sets) <= 2
