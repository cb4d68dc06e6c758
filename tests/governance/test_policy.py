"""The policy denies by default, says why and what would be allowed, and more fields never help."""

from __future__ import annotations

import json
import time
from functools import cache

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from features.schema import Schema
from governance.access import ACTIONS, PARTNER_TYPES, Access, Partner, read_access
from governance.categories import CATEGORIES, with_broader
from governance.masking import Band, Partial, Token, mask
from governance.policy import DENY_BY_DEFAULT, Policies
from governance.policy_command import main
from governance.policy_files import load_texts
from governance.policy_texts import SHIPPED, read_folder
from governance.purposes import PURPOSES
from settings import ROOT
from utils.errors import InvalidRequest

NOON = 1_800_014_400
POLICIES = Policies.load()
DEMO = POLICIES.files.maps["credit_card_demo"]
RECORD = POLICIES.files.maps["personal_record"]


def use(partner="bank", action="decide", fields=("Total_income", "Age"), **changes) -> Access:
    values = {
        "partner": Partner(id="partner-1", type=partner, verified=changes.pop("verified", True)),
        "action": action,
        "data_set": "applicant",
        "schema_name": "credit_card_demo",
        "fields": fields,
        "purpose": "dpv:CreditChecking",
        "consent": "given",
        "time": NOON,
        "rows": 100,
        **changes,
    }
    return Access(**values)


def record(partner="bank", fields=("income", "name"), purpose="dpv:CreditChecking", **changes):
    return use(
        partner, "release", fields, schema_name="personal_record", purpose=purpose, **changes
    )


def policies(*rules: str, **obligations) -> Policies:
    """Return a policy of these rules alone, with the shipped maps."""
    texts = {name: text for name, text in read_folder(SHIPPED).items() if name.endswith(".json")}
    texts["00.cedar"] = "\n".join(rules)
    least = {"rate_per_hour": 9, "rate_per_day": 9, "retention_days": 9}
    texts["obligations.json"] = json.dumps({"rules": obligations or {"all": least}})
    return Policies(load_texts(texts))


ALL = '@id("all") @reason("All is allowed.") permit (principal, action, resource);'


@pytest.mark.parametrize("name", ["credit_card", "credit_card_fair_lending"])
def test_every_column_of_the_shipped_schemas_has_a_category(name) -> None:
    schema = Schema.load(ROOT / "features" / f"{name}.json")
    fields = POLICIES.files.maps[schema.name].fields
    assert set(fields) == {column.name for column in schema.columns()}


@pytest.mark.parametrize("schema", ["credit_card_demo", "credit_card_fair_lending"])
@pytest.mark.parametrize("action", ["decide", "explain"])
def test_decision_for_credit_is_allowed_and_marketing_is_not(schema, action) -> None:
    fields = tuple(POLICIES.files.maps[schema].fields)
    allowed = POLICIES.decide(use(action=action, fields=fields, schema_name=schema))
    assert allowed.allowed and allowed.would_allow is None
    assert allowed.obligations.rate_per_hour == 600
    for purpose in ("dpv:Marketing", "dpv:DirectMarketing", "dpv:PersonalisedAdvertising"):
        denied = POLICIES.decide(
            use(action=action, fields=fields, schema_name=schema, purpose=purpose)
        )
        assert not denied.allowed
        assert denied.rules == ("no-marketing-with-credit-data",)
        assert denied.would_allow.purposes == ("dpv:CreditChecking",)
        assert "not used for marketing" in denied.in_words()


def test_nothing_is_allowed_without_a_rule() -> None:
    verdict = POLICIES.decide(use("merchant"))
    assert not verdict.allowed and verdict.rules == (DENY_BY_DEFAULT,)
    assert "merchant" in verdict.reason and "Total_income and Age" in verdict.reason
    assert "to assess creditworthiness" in verdict.reason
    assert verdict.obligations is None


def test_denial_names_the_fields_that_would_be_allowed() -> None:
    verdict = POLICIES.decide(record(fields=("income", "email", "employer", "shoe_size")))
    assert not verdict.allowed
    assert verdict.rules == (DENY_BY_DEFAULT, "no-unclassified-fields")
    assert verdict.would_allow.fields == ("income", "employer")
    less = POLICIES.decide(record(fields=verdict.would_allow.fields))
    assert less.allowed and set(less.obligations.masks) == {"income", "employer"}


def test_denial_names_other_purposes_and_actions() -> None:
    verdict = POLICIES.decide(record(fields=("email",)))
    assert verdict.would_allow.purposes == (
        "dpv:CounterMoneyLaundering",
        "dpv:FraudPreventionAndDetection",
    )
    verdict = POLICIES.decide(use(action="release", fields=("Total_income",)))
    assert verdict.would_allow.actions == ("decide", "explain", "statistic")


def test_combination_is_forbidden_though_each_field_is_allowed() -> None:
    for field in ("name", "account_number"):
        assert POLICIES.decide(record(fields=(field,))).allowed
    both = POLICIES.decide(record(fields=("name", "account_number", "income")))
    assert not both.allowed and both.rules == ("no-name-beside-account-number",)
    assert both.would_allow.fields == ("name", "income")
    assert "dpv:FraudPreventionAndDetection" not in both.would_allow.purposes  # not with income
    assert POLICIES.decide(
        record(fields=("name", "account_number"), purpose="dpv:FraudPreventionAndDetection")
    ).allowed


@pytest.mark.parametrize("consent", ["asked", "denied", "paused", "revoked", "expired"])
def test_nothing_is_allowed_without_consent(consent) -> None:
    verdict = POLICIES.decide(use(consent=consent))
    assert not verdict.allowed and verdict.rules == ("consent-needed",)
    assert verdict.awaits_consent == (consent == "asked")
    assert verdict.would_allow.needs_consent
    assert verdict.would_allow.fields == ("Total_income", "Age")


def test_use_that_consent_cannot_make_allowed_is_denied_for_the_lasting_reason() -> None:
    verdict = POLICIES.decide(use("merchant", consent="asked"))
    assert verdict.rules == (DENY_BY_DEFAULT,) and not verdict.awaits_consent
    verdict = POLICIES.decide(use(consent="asked", uses_this_hour=600))
    assert verdict.rules == ("credit-decision",) and not verdict.awaits_consent


def test_unverified_partner_is_denied() -> None:
    assert POLICIES.decide(use(verified=False)).rules == ("verified-key-needed",)


def test_rate_and_retention_are_limits_and_name_their_rule() -> None:
    assert POLICIES.decide(record(uses_this_hour=59, uses_this_day=499, retention_days=90)).allowed
    hour = POLICIES.decide(record(uses_this_hour=60, time=NOON + 3000))
    assert hour.rules == ("bank-credit-record",) and "60 uses an hour" in hour.reason
    assert hour.would_allow.after_seconds == 600
    day = POLICIES.decide(record(uses_this_hour=60, uses_this_day=500))
    assert day.would_allow.after_seconds == 12 * 3600
    kept = POLICIES.decide(record(retention_days=91))
    assert not kept.allowed and kept.would_allow.retention_days == 90


def test_statistic_needs_rows_and_no_direct_identifier() -> None:
    asked = {"purpose": "dpv:AcademicResearch", "schema_name": "own_data"}
    given = {"categories": {"balance": "account_balance", "mail": "email"}}
    fine = POLICIES.decide(use("researcher", "statistic", ("balance",), **asked, **given))
    assert fine.allowed and fine.obligations.least_rows == 10 and not fine.obligations.masks
    few = POLICIES.decide(use("researcher", "statistic", ("balance",), rows=9, **asked, **given))
    assert few.rules == ("research-statistics",) and few.would_allow.least_rows == 10
    mail = POLICIES.decide(use("researcher", "statistic", ("balance", "mail"), **asked, **given))
    assert mail.rules == ("no-statistics-of-direct-identifiers",)
    assert mail.would_allow.fields == ("balance",)
    # Without the owner's categories the same fields are unclassified.
    assert POLICIES.decide(use("researcher", "statistic", ("balance",), **asked)).rules == (
        "no-unclassified-fields",
    )


def test_number_of_rows_is_a_statistic_of_its_own_and_no_other_action_goes_without_fields() -> None:
    count = use("researcher", "statistic", (), purpose="dpv:AcademicResearch", rows=50)
    assert POLICIES.decide(count).allowed
    assert POLICIES.decide(use(fields=())).rules == ("no-fields",)
    assert POLICIES.decide(use("merchant", "statistic", ())).rules == (DENY_BY_DEFAULT,)


@pytest.mark.parametrize("field", ["*", "*rows", "a\nb", "", "x" * 65])
def test_no_field_can_pass_for_the_number_of_rows(field) -> None:
    with pytest.raises(ValidationError):
        use("researcher", "statistic", (field,), purpose="dpv:AcademicResearch")


def test_owner_cannot_relabel_a_field_of_a_shipped_schema() -> None:
    verdict = POLICIES.decide(record(fields=("email",), categories={"email": "income"}))
    assert not verdict.allowed
    # The control: the label counts for a field that the file does not name.
    named = {"schema_name": "own_data", "categories": {"email": "income"}}
    assert POLICIES.decide(use(action="statistic", fields=("email",), **named)).allowed


def test_field_outside_the_schema_is_not_covered_by_a_rule_for_the_schema() -> None:
    """Not even beside a field of the schema that has the same category."""
    verdict = POLICIES.decide(use(fields=("Total_income", "Diary"), categories={"Diary": "income"}))
    assert not verdict.allowed and verdict.would_allow.fields == ("Total_income",)


def test_fair_lending_forbids_protected_grounds_added_to_its_schema() -> None:
    texts = read_folder(SHIPPED)
    name = "credit_card_fair_lending.json"
    changed = json.loads(texts[name])
    changed["fields"]["Age"] = "age"
    texts[name] = json.dumps(changed)
    verdict = Policies(load_texts(texts)).decide(
        use(fields=("Total_income", "Age"), schema_name="credit_card_fair_lending")
    )
    assert verdict.rules == ("no-protected-grounds-in-fair-lending",)
    assert verdict.would_allow.fields == ("Total_income",)


def test_release_has_a_mask_for_each_field_which_the_masks_accept() -> None:
    verdict = POLICIES.decide(record(fields=("income", "name", "birth_date", "iban")[:3]))
    masks = verdict.obligations.masks
    assert isinstance(masks["name"], Token) and isinstance(masks["birth_date"], Band)
    released = mask({"income": 41_000, "name": "Ada Example"}, masks, bytes(32), "partner-1")
    assert released["income"] == "40,000–59,999" and "Ada" not in str(released)
    number = POLICIES.decide(record(fields=("iban",))).obligations.masks["iban"]
    assert isinstance(number, Partial)


def test_release_without_a_mask_is_denied() -> None:
    rules = {"rate_per_hour": 9, "rate_per_day": 9, "retention_days": 9}
    masks = {"masks": {"income": {"kind": "clear"}}}
    mine = policies(ALL, all={**rules, **masks})
    assert mine.decide(record(fields=("income",))).allowed
    verdict = mine.decide(record(fields=("income", "name")))
    assert verdict.rules == ("no-mask", "all") and "mask name" in verdict.reason
    assert verdict.would_allow.fields == ("income",)


def test_strictest_obligation_of_several_rules_applies() -> None:
    one = {"rate_per_hour": 5, "rate_per_day": 100, "retention_days": 1,
           "masks": {"identity": {"kind": "partial"}, "name": {"kind": "clear"}}}  # fmt: skip
    two = {"rate_per_hour": 50, "rate_per_day": 60, "retention_days": 9, "least_rows": 30,
           "masks": {"contact": {"kind": "clear"}},
           "field_masks": {"name": {"kind": "hash"}}}  # fmt: skip
    mine = policies(ALL, ALL.replace("all", "too", 1), all=one, too=two)
    found = mine.decide(record(fields=("name", "national_id"))).obligations
    assert (found.rate_per_hour, found.rate_per_day, found.retention_days) == (5, 60, 1)
    assert found.least_rows == 30
    assert found.masks["name"].kind == "hash" and found.masks["national_id"].kind == "partial"


def test_rule_that_fails_denies_although_cedar_would_ignore_it() -> None:
    """A forbidding rule overflows for large counts, which validation cannot foresee."""
    overflows = (
        '@id("overflows") @reason("Too many.") forbid (principal, action, resource)'
        " when { context.uses_this_day + 9223372036854775807 < 0 };"
    )
    mine = policies(
        ALL, overflows, all={"rate_per_hour": 9, "rate_per_day": 9, "retention_days": 9}
    )
    assert mine.decide(use()).allowed
    verdict = mine.decide(use(uses_this_day=1))
    assert verdict.rules == ("rule-failed",)
    # The control: Cedar's own decision is to allow.
    text = "permit (principal, action, resource); forbid (principal, action, resource) when { context.n + 9223372036854775807 < 0 };"  # noqa: E501
    request = {"principal": 'P::"p"', "action": 'Action::"a"', "resource": 'R::"r"',
               "context": {"n": 1}}  # fmt: skip
    assert cedarpy.is_authorized(request, text, []).allowed


def test_rules_see_time_consent_and_single_fields() -> None:
    night = (
        '@id("night") @reason("Not at night.") forbid (principal, action, resource)'
        " when { context.hour < 6 };"
    )
    field = (
        '@id("field") @reason("Not this field.") forbid (principal, action,'
        ' resource == Field::"credit_card_demo/Own_car");'
    )
    mine = policies(ALL, night, field)
    assert mine.decide(use(fields=("Own_property",))).allowed
    assert mine.decide(use(time=NOON - 7 * 3600)).rules == ("night",)
    # Own_car and Own_property have the same category, and are not judged alike here.
    both = mine.decide(use(fields=("Own_property", "Own_car")))
    assert both.rules == ("field",) and both.would_allow.fields == ("Own_property",)


SOME_USE = st.builds(
    use,
    partner=st.sampled_from(PARTNER_TYPES),
    action=st.sampled_from(ACTIONS),
    schema_name=st.sampled_from([*POLICIES.files.maps, "own_data"]),
    fields=st.lists(
        st.sampled_from([*RECORD.fields, *DEMO.fields, "x", "y"]),
        min_size=1, max_size=8, unique=True,
    ).map(tuple),
    categories=st.dictionaries(st.sampled_from("xy"), st.sampled_from([*CATEGORIES])),
    purpose=st.sampled_from([*PURPOSES]),
    consent=st.sampled_from(["given", "given", "given", "asked", "revoked"]),
    uses_this_hour=st.sampled_from([0, 0, 30, 700]),
    retention_days=st.sampled_from([0, 7, 400]),
    rows=st.sampled_from([1, 7, 100]),
)  # fmt: skip
PROFILES = [
    ("bank", "decide", "credit_card_demo", "dpv:CreditChecking"),
    ("credit_agency", "explain", "credit_card_fair_lending", "dpv:CreditChecking"),
    ("bank", "release", "personal_record", "dpv:CreditChecking"),
    ("bank", "release", "personal_record", "dpv:FraudPreventionAndDetection"),
    ("employer", "release", "personal_record", "dpv:PersonnelHiring"),
    ("researcher", "statistic", "personal_record", "dpv:AcademicResearch"),
    ("bank", "statistic", "personal_record", "dpv:CreditChecking"),
]
"""Uses that a rule allows for some fields."""


@st.composite
def likely_uses(draw) -> Access:
    """A use of fields that are allowed one by one, to which a few others may be added."""
    partner, action, schema, purpose = draw(st.sampled_from(PROFILES))
    asked = use(partner, action, schema_name=schema, purpose=purpose)
    fitting = st.sampled_from(fields_allowed(partner, action, schema, purpose))
    fields = draw(st.lists(fitting, min_size=1, max_size=6, unique=True))
    others = draw(st.lists(st.sampled_from([*RECORD.fields, "x"]), max_size=1))
    changes = {
        "fields": tuple(dict.fromkeys(fields + others)),
        "rows": draw(st.sampled_from([7, 100, 100])),
        "uses_this_hour": draw(st.sampled_from([0, 0, 0, 30])),
    }
    return asked.model_copy(update=changes)


@cache
def fields_allowed(partner, action, schema, purpose) -> tuple[str, ...]:
    asked = use(partner, action, schema_name=schema, purpose=purpose)
    return tuple(
        field
        for field in POLICIES.files.maps[schema].fields
        if POLICIES.decide(asked.model_copy(update={"fields": (field,)})).allowed
    )


LIKELY_USE = likely_uses() | SOME_USE


@given(LIKELY_USE, st.data())
@settings(deadline=None, max_examples=25)
def test_more_fields_never_make_a_denied_use_allowed(asked, data) -> None:
    """Equivalently: whatever is allowed is allowed with fewer fields."""
    if not POLICIES.decide(asked).allowed or len(asked.fields) < 2:
        return
    fewer = data.draw(st.lists(st.sampled_from(asked.fields), min_size=1, unique=True))
    assert POLICIES.decide(asked.model_copy(update={"fields": tuple(fewer)})).allowed


def test_rule_can_make_more_fields_help_only_by_reading_the_categories() -> None:
    """The control of the property above: a rule may say so."""
    rule = (
        '@id("all") @reason("With income only.") permit (principal, action, resource)'
        ' when { context.categories.contains(Category::"income") };'
    )
    mine = policies(rule)
    assert not mine.decide(use(fields=("Age",))).allowed
    assert mine.decide(use(fields=("Age", "Total_income"))).allowed


WITHOUT_COMBINATIONS = Policies(
    load_texts(
        {
            name: text.split('@id("no-name-beside')[0] if name == "00-always.cedar" else text
            for name, text in read_folder(SHIPPED).items()
        }
    )
)


@given(LIKELY_USE)
@settings(deadline=None, max_examples=25)
def test_without_rules_on_categories_each_field_is_judged_alone(asked) -> None:
    assert not any("context.categories" in t for t in WITHOUT_COMBINATIONS.files.texts.values())
    single = all(
        WITHOUT_COMBINATIONS.decide(asked.model_copy(update={"fields": (field,)})).allowed
        for field in asked.fields
    )
    # Rates, retention and rows are those of the strictest rule of all fields, hence the same.
    assert WITHOUT_COMBINATIONS.decide(asked).allowed == single


@given(LIKELY_USE)
@settings(deadline=None, max_examples=25)
def test_what_a_denial_offers_is_allowed(asked) -> None:
    verdict = POLICIES.decide(asked)
    if verdict.allowed:
        assert set(asked.fields) == set(verdict.obligations.masks) or asked.action != "release"
        return
    offer = verdict.would_allow
    limits = {
        "consent": "given",
        "uses_this_hour": 0,
        "uses_this_day": 0,
        "retention_days": 0,
        "rows": 1000,
    }
    if offer.fields:
        assert POLICIES.decide(asked.model_copy(update={**limits, "fields": offer.fields})).allowed
        left = [f for f in asked.fields if f not in offer.fields]
        assert (
            not left
            or not POLICIES.decide(
                asked.model_copy(update={**limits, "fields": (*offer.fields, left[0])})
            ).allowed
        )
    for purpose in offer.purposes[:2]:
        assert POLICIES.decide(asked.model_copy(update={**limits, "purpose": purpose})).allowed
    for action in offer.actions:
        assert POLICIES.decide(asked.model_copy(update={**limits, "action": action})).allowed


@given(LIKELY_USE)
@settings(deadline=None, max_examples=25)
def test_verdict_is_deterministic_and_nothing_is_allowed_without_consent(asked) -> None:
    verdict = POLICIES.decide(asked)
    assert POLICIES.decide(asked) == verdict
    assert not verdict.allowed or asked.consent == "given"


def test_broader_category_is_above_and_hierarchies_have_no_dangling_ends() -> None:
    assert with_broader("name") == ("name", "identity", "direct_identifier")
    assert {b for each in CATEGORIES.values() for b in each.broader} <= set(CATEGORIES)
    assert {b for each in PURPOSES.values() for b in each.broader} <= set(PURPOSES)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"purpose": "dpv:Anything"}, "purpose"),
        ({"action": "copy"}, "action"),
        ({"fields": ["Age", "Age"]}, "fields"),
        ({"fields": [f"f{i}" for i in range(65)]}, "fields"),
        ({"uses_this_hour": -1}, "uses_this_hour"),
        ({"rows": "many"}, "rows"),
        ({"partner": {"id": "a b", "type": "bank", "verified": True}}, "partner.id"),
        ({"partner": {"id": "a", "type": "bank", "verified": 1}}, "partner.verified"),
        ({"partner": {"id": "a", "type": "king", "verified": True}}, "partner.type"),
        ({"categories": {"x": "secret"}}, "categories"),
        ({"allowed": True}, "allowed"),
        ({"schema_name": "a/b"}, "schema_name"),
    ],
)
def test_malformed_use_is_refused_by_member(change, place) -> None:
    fine = use().model_dump(mode="json")
    assert read_access(json.dumps(fine).encode()) == use()
    with pytest.raises(InvalidRequest, match=place):
        read_access(json.dumps({**fine, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff", b" " * 70_000])
def test_use_that_is_no_json_object_is_refused(data) -> None:
    with pytest.raises(InvalidRequest):
        read_access(data)


def test_command_explains_in_words_and_by_exit_code(tmp_path, capsys) -> None:
    path = tmp_path / "request.json"
    path.write_text(use().model_dump_json())
    assert main(["explain", str(path)]) == 0
    assert "Allowed by credit-decision: A bank" in capsys.readouterr().out
    path.write_text(use(purpose="dpv:Marketing").model_dump_json())
    assert main(["explain", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "Denied by no-marketing-with-credit-data" in printed
    assert "to assess creditworthiness" in printed and POLICIES.version in printed
    path.write_text("{}")
    assert main(["explain", str(path)]) == 2
    assert main(["explain", str(tmp_path / "absent.json")]) == 2
    assert "absent.json" in capsys.readouterr().err


def test_largest_denial_takes_bounded_time() -> None:
    fields = tuple(f"f{i}" for i in range(64))
    categories = {f"f{i}": [*CATEGORIES][i % len(CATEGORIES)] for i in range(64)}
    began = time.process_time()
    POLICIES.decide(
        use("researcher", "statistic", fields, schema_name="own", categories=categories,
            purpose="dpv:AcademicResearch")
    )  # fmt: skip
    assert time.process_time() - began < 3
