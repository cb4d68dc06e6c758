"""The map from columns to laws covers the shipped schemas and recognises usual columns."""

import json

import pytest

from features.schema import OrdinalColumn, Schema
from settings import ROOT
from training.report import laws
from training.report.laws import KEPT_OUT, RESTRICTED, TOUCHED, column_laws, laws_of, subjects_of

SCHEMAS = {
    name: Schema.load(ROOT / "features" / f"{name}.json")
    for name in ("credit_card", "credit_card_fair_lending", "german_credit")
}
DATA = json.loads((ROOT / "training" / "report" / "laws.json").read_text())


def column(name, label=""):
    return OrdinalColumn(name=name, label=label, kind="ordinal", minimum=0, maximum=9, cuts=[5])


def test_fair_lending_schema_has_no_column_that_law_keeps_out():
    found = laws_of(SCHEMAS["credit_card_fair_lending"])
    assert all(own.listed and own.subjects for own in found)
    assert [own.column for own in found if own.verdict == KEPT_OUT] == []
    # Also by the words of the columns, whatever the list says of them.
    for own in SCHEMAS["credit_card_fair_lending"].columns():
        assert column_laws(own).verdict != KEPT_OUT, own.name


def test_demonstration_schemas_have_columns_that_law_keeps_out_or_restricts():
    verdicts = {own.column: own.verdict for own in laws_of(SCHEMAS["credit_card"])}
    assert verdicts["Family_status"] == KEPT_OUT
    assert verdicts["Age"] == verdicts["Mobile_phone"] == verdicts["Num_children"] == RESTRICTED
    assert verdicts["Own_car"] == TOUCHED
    german = {own.column: own.verdict for own in laws_of(SCHEMAS["german_credit"])}
    assert german["sex"] == KEPT_OUT and german["job"] == RESTRICTED


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_of_a_shipped_schema_is_listed_and_no_other(name):
    schema = SCHEMAS[name]
    assert list(DATA["columns"][schema.name]) == [own.name for own in schema.columns()]


def test_the_map_is_consistent():
    subjects = {rule["name"] for rule in DATA["subjects"]}
    named = {law for rule in DATA["subjects"] for law in rule["laws"]} | set(DATA["every"])
    assert named == set(DATA["laws"])
    assert {rule["verdict"] for rule in DATA["subjects"]} == {KEPT_OUT, RESTRICTED, TOUCHED}
    listed = {s for own in DATA["columns"].values() for each in own.values() for s in each}
    assert listed <= subjects


@pytest.mark.parametrize(
    ("name", "label", "subject", "verdict"),
    [
        ("gender", "", "sex", KEPT_OUT),
        ("MaritalStatus", "", "marital status", KEPT_OUT),
        ("x1", "Family status", "marital status", KEPT_OUT),
        ("NumberOfDependents", "", "dependants", RESTRICTED),
        ("facebook_friends", "", "social media", KEPT_OUT),
        ("chronic", "Chronic illness", "special category", KEPT_OUT),
        ("ethnicity", "", "ethnic origin", KEPT_OUT),
        ("welfare", "", "public assistance", KEPT_OUT),
        ("Alter", "", "age", RESTRICTED),
        ("AGE_YEARS", "", "age", RESTRICTED),
        ("foreign_worker", "", "nationality or residence", RESTRICTED),
        ("zipcode", "", "place of residence", RESTRICTED),
        ("DELINQ", "", "credit report", RESTRICTED),
        ("savings", "", "assets and housing", TOUCHED),
    ],
)
def test_own_columns_are_recognised_by_their_words(name, label, subject, verdict):
    found = column_laws(column(name, label), "somebody_elses")
    assert subject in found.subjects and found.verdict == verdict
    assert found.laws and not found.listed


def test_age_of_an_account_is_no_age_of_a_person():
    for name, label in (("Account_age", ""), ("age", "Age of the oldest credit line")):
        assert "age" not in subjects_of(column(name, label))
    assert subjects_of(column("zzz")) == ()
    assert "lawyer" in laws.note()


def test_the_table_in_the_documents_has_every_column_with_its_verdict():
    text = (ROOT / "docs" / "TRAINING.md").read_text()
    for schema in SCHEMAS.values():
        for own in laws_of(schema):
            (line,) = [each for each in text.splitlines() if each.startswith(f"| `{own.column}` |")]
            assert f"| {own.verdict} |" in line
            for title, _ in own.laws:
                short = title.replace("Directive (EU) 2023/2225", "EU Directive")
                assert short.removeprefix("12 CFR ") in line, own.column
