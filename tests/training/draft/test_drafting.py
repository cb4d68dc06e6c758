"""A drafted schema: what is used, left out and audited, and that training accepts it always."""

import csv
import random
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.cells import plain_name
from features.encoding import Layout
from settings import ROOT
from training.data import training_frame
from training.draft.acceptance import accepted_bits
from training.draft.drafting import Options, draft_schema
from utils.errors import TrainingDataInvalid

ROWS = 240


def write(path, columns, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([header for header, _ in columns])
        writer.writerows(zip(*(values for _, values in columns), strict=True))
    return path


def invented(seed=7):
    """Columns of a lender's file by header; BAD depends on income and late payments."""
    draw = random.Random(seed)
    rows = range(ROWS)
    income = [draw.randrange(12_000, 90_000, 500) for _ in rows]
    late = [draw.choice([0, 0, 0, 1, 2]) for _ in rows]
    risk = [draw.gauss(0, 9000) + 9000 * b - a / 2 for a, b in zip(income, late, strict=True)]
    bad = [int(each > sorted(risk)[ROWS * 3 // 4]) for each in risk]
    return {
        "Monthly income": income,
        "late_payments": late,
        "savings_balance": ["NA" if i % 6 == 0 else draw.randrange(0, 9000, 10) for i in rows],
        "housing": [draw.choice(["own", "Own", " rent"]) if i % 40 else "barge" for i in rows],
        "owns_car": [draw.choice(["ja", "nein"]) for _ in rows],
        "BAD": bad,
    }


@pytest.fixture
def drafted(tmp_path):
    """Return a function that drafts a schema for the invented columns and further ones."""

    def draft(more=None, **options):
        columns = {**invented(), **(more or {})}
        path = write(tmp_path / "my.csv", list(columns.items()))
        chosen = Options("BAD", **options)
        found = draft_schema(path, chosen)
        rows = np.arange(len(found.outcome.approved))
        accepted_bits(path, found, chosen, Layout(found.schema), rows)
        return found

    return draft


def uses(found):
    return {line.header: line.use for line in found.lines}


def why(found, header):
    return next(line.why for line in found.lines if line.header == header)


def test_kinds_parties_domains_and_first_values(drafted):
    found = drafted()
    schema = found.schema
    assert schema.party_names == ["applicant", "bank", "credit_agency"]
    assert uses(found) == {
        "Monthly income": "applicant: ordinal",
        "late_payments": "credit_agency: ordinal",
        "savings_balance": "bank: ordinal",
        "housing": "applicant: categorical",
        "owns_car": "applicant: boolean",
    }
    income = schema.column("Monthly_income")
    assert (income.header, income.integer, income.clip) == ("Monthly income", True, True)
    assert income.optional is False and 40_000 <= income.default <= 60_000
    assert schema.column("savings_balance").optional
    housing = schema.column("housing")
    assert housing.values == ["own", "rent", "other"] and housing.other == "other"
    assert schema.decision.approved_value == 0 and schema.lender.name == "bank"


def test_explanation_and_reasons_follow_names_and_data(drafted):
    schema = drafted().schema
    assert schema.explanation.column in ("Monthly_income", "savings_balance")
    varied = {schema.explanation.column: schema.explanation.direction}
    varied |= {each.column: each.direction for each in schema.explanation.alternatives}
    assert varied["Monthly_income"] == "more" and len(varied) <= 3
    assert "late_payments" not in varied  # nobody can undo these
    stated = {name: reason for reason in schema.reasons for name in reason.columns}
    assert "Income insufficient" in stated["Monthly_income"].text
    assert stated["late_payments"].texts["de"]
    assert set(stated) == {column.name for column in schema.columns()}


def test_useless_and_leaking_columns_are_named_and_left_out(drafted):
    base = invented()
    found = drafted(
        {
            "customer_id": [10_000 + 7 * i for i in range(ROWS)],
            "row": range(ROWS),
            "reference": [f"A{i:x}Z" for i in range(ROWS)],
            "currency": ["EUR"] * ROWS,
            "flag": [*["x"] * 5, *["y"] * (ROWS - 5)],
            "comment": [""] * ROWS,
            "income_again": [f"{value}.0" for value in base["Monthly income"]],
            "car": [{"ja": "A", "nein": "B"}[word] for word in base["owns_car"]],
            "written_off": [12.5 * bad for bad in base["BAD"]],
            "turnover": [str(i % 90) if i else "many" for i in range(ROWS)],
            "": range(ROWS),
        }
    )
    reasons = {
        "customer_id": "identifier",
        "row": "identifier",
        "reference": "identifier",
        "currency": "constant",
        "flag": "nearly constant",
        "comment": "empty",
        "income_again": "says the same as Monthly income",
        "car": "says the same as owns_car",
        "written_off": "leak",
        "turnover": "1 rows have other texts, the first in line 2",
        "(no name)": "no usable header",
    }
    assert {name for name, use in uses(found).items() if use == "left out"} == reasons.keys()
    for header, reason in reasons.items():
        assert reason in why(found, header), header


@pytest.mark.parametrize(
    ("header", "law"),
    [
        ("Alter", "1002.6(b)(2)"),
        ("applicantAge", "1002.6(b)(2)"),
        ("GESCHLECHT", "2004/113/EC"),
        ("marital-status", "1002.6(b)(8)"),
        ("Staatsangehörigkeit", "2023/2225"),
        ("religion", "Article 9"),
        ("Gesundheitszustand", "Article 9"),
        ("facebook_friends", "social networks"),
    ],
)
def test_columns_that_law_restricts_are_only_audited(drafted, header, law):
    values = [18 + i % 8 for i in range(ROWS)]
    found = drafted({header: values})
    assert uses(found)[header] == "audit only" and law in why(found, header)
    [column] = found.schema.audit_columns
    assert column.header == header and len(getattr(column, "cuts", [])) < 6
    kept = drafted({header: values}, keep=(header,))
    assert kept.schema.audit_columns == [] and "law restricts" in why(kept, header)


def test_thousands_written_with_a_unit_are_no_categories(drafted):
    found = drafted({"balance": [f"{20 + i % 8}k" for i in range(ROWS)]})
    assert uses(found)["balance"] == "left out" and "in full" in why(found, "balance")


@pytest.mark.parametrize("header", ["personal_status_sex", "foreign_worker", "marital_status"])
def test_codes_of_audited_groups_are_no_numbers(drafted, header):
    """Joined like numbers, codes 1 and 2 would be one group "under 3" of both sexes."""
    [column] = drafted({header: [1 + i % 4 for i in range(ROWS)]}).schema.audit_columns
    assert column.values[:4] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("header", ["account_age", "AverageMonths", "mortgage", "Fahrzeugalter"])
def test_similar_names_are_not_restricted(drafted, header):
    found = drafted({header: [i % 60 for i in range(ROWS)]})
    assert found.schema.audit_columns == [] and uses(found)[header] != "left out"


def test_parties_are_those_told(drafted):
    told = ("employer=Monthly income", "lender=late_payments, owns_car")
    schema = drafted(parties=told).schema
    owned = {party.name: [c.name for c in party.columns] for party in schema.parties}
    assert owned == {
        "applicant": ["housing"],
        "employer": ["Monthly_income"],
        "lender": ["late_payments", "owns_car"],
        "bank": ["savings_balance"],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parties": ("bank",)}, "bank=savings,balance"),
        ({"parties": ("bank=nothing",)}, "no column called 'nothing'"),
        ({"parties": ("bank=housing", "b=housing")}, "to two parties"),
        ({"keep": ("Alter",)}, "--keep"),
        ({"approved": "7"}, "--approved must be one of the two labels"),
        ({"bins": 65}, "from 2 to 64"),
    ],
)
def test_wrong_options_are_refused(drafted, options, message):
    with pytest.raises(TrainingDataInvalid, match=message):
        drafted(**options)


@pytest.mark.parametrize(
    ("header", "good", "bad", "value"),
    [
        ("BAD", "0", "1", 0),
        ("GOOD", "1", "0", 1),
        ("status", "paid", "default", "paid"),
        ("default payment", "N", "Y", "N"),
        ("class", "1", "2", 1),
        ("y", "-1.0", "1.0", -1),
        ("outcome", "blue", "red", "blue"),
    ],
)
def test_label_that_means_approval(tmp_path, header, good, bad, value):
    columns = invented()
    labels = [bad if each else good for each in columns.pop("BAD")]
    path = write(tmp_path / "my.csv", [*columns.items(), (header, labels)])
    found = draft_schema(path, Options(header))
    assert found.schema.decision.approved_value == value
    _, y = training_frame(found.schema, [path], header, 0, 0)
    assert y.tolist() == [label == good for label in labels]


def test_codes_are_grouped_by_their_beginning_and_take_new_ones(drafted):
    codes = [f"{10 + i % 4}{i % 25:03}" for i in range(ROWS)]
    [column] = [c for c in drafted({"PLZ": codes}).schema.columns() if c.name == "PLZ"]
    assert column.values == ["100*", "110*", "120*", "130*", "other"]
    assert set(column.groups["100*"]) == {code for code in codes if code.startswith("100")}


def test_dates_are_months_before_the_reference_date(drafted):
    dates = [f"{2015 + i % 10}-03-01" for i in range(ROWS)]
    found = drafted({"opened": dates})
    column = found.schema.column("opened")
    assert column.unit == "months" and column.minimum == 0 and 100 <= column.maximum <= 200
    later = drafted({"opened": dates}, reference=date(2034, 3, 1))
    assert later.schema.column("opened").default > column.default + 90
    assert any("train with the same --reference-date" in note for note in later.notes)


def test_rules_on_columns_that_are_used_are_named(drafted):
    found = drafted({"PLZ": [i % 7 for i in range(ROWS)], "kinder": [i % 3 for i in range(ROWS)]})
    assert "1002.6(b)(9)" in why(found, "PLZ") and "1002.6(b)(3)" in why(found, "kinder")
    assert found.schema.audit_columns == []


def test_units_and_decimal_commas_of_another_separator(tmp_path):
    draw = random.Random(3)
    columns = {
        "rate": [f"{draw.randrange(500, 2500) / 100:.2f}%".replace(".", ",") for _ in range(ROWS)],
        "term": [f"{draw.choice([24, 36, 48, 60])} months" for _ in range(ROWS)],
        "amount": [f"{draw.randrange(1, 9)},{draw.randrange(100, 999)}" for _ in range(ROWS)],
        "BAD": [i % 3 == 0 for i in range(ROWS)],
    }
    path = write(tmp_path / "my.csv", list(columns.items()), ";")
    options = Options("BAD")
    found = draft_schema(path, options)
    assert found.schema.column("term").unit == "months"
    assert found.schema.column("amount").maximum == 9  # as in rate, the comma is decimal
    bits = accepted_bits(path, found, options, Layout(found.schema), np.arange(ROWS))
    assert bits.any()


def test_too_little_to_use_is_refused_with_the_reasons(tmp_path):
    columns = {"x": ["a"] * ROWS, "n": range(ROWS), "BAD": [i % 2 for i in range(ROWS)]}
    path = write(tmp_path / "my.csv", list(columns.items()))
    with pytest.raises(TrainingDataInvalid, match=r"x: constant.*n: identifier"):
        draft_schema(path, Options("BAD"))


def cells(rows):
    """Return a strategy of columns: texts of any kind that a lender's file may have."""
    number = st.one_of(
        st.integers(-(10**6), 10**6).map(str),
        st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: f"{x:.3f}"),
        st.sampled_from(["", "NA", "13%", "36 months", "1,234", "2020-01-31", "1.0", "1e3", "x"]),
    )
    text = st.one_of(
        st.sampled_from(["a", "A", " a", "other", "None", "?", "1.0", "1", "ja", "N", "0"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=90),
    )
    few = st.one_of(
        st.lists(number, min_size=1, max_size=30), st.lists(text, min_size=1, max_size=12)
    )
    seeds = st.integers(0, 2**32)
    return st.tuples(few, seeds).map(
        lambda drawn: random.Random(drawn[1]).choices(drawn[0], k=rows)
    )


OWN = {"income", "kind", "outcome"}
HEADER = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=70).filter(
    lambda header: plain_name(header) not in OWN
)


@given(
    st.lists(st.tuples(HEADER, cells(100)), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.integers(2, 64),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_training_accepts_every_drafted_schema(tmp_path, columns, delimiter, bins):
    numbers = [str(random.Random(5).randrange(100) if i % 2 else i) for i in range(100)]
    label = ["good" if i % 3 else "bad" for i in range(100)]
    path = write(
        tmp_path / "my.csv",
        [*columns, ("income", numbers), ("kind", ["b", "c"] * 50), ("outcome_", label)],
        delimiter,
    )
    options = Options("outcome_", bins=bins)
    try:
        found = draft_schema(path, options)
    except TrainingDataInvalid as error:  # the file, not the draft, is at fault
        assert "cannot be read" in error.message or "No column of numbers" in error.message
        return
    bits = accepted_bits(path, found, options, Layout(found.schema), np.arange(100))
    assert len(bits) == 100


FOLDERS = [
    folder
    for shared in (ROOT.parent / "shared", ROOT.parents[1] / "shared")
    for folder in sorted((shared / "failing" / "data").glob("*"))
    if (folder / "my.csv").is_file()
]
REFUSED = {
    "08_duplicate_column": "2 columns have this header",
    "53_label_probability": "probabilities",
    "58_empty": "is empty",
    "59_header_only": "no rows",
    "61_long_rows": "line 2",
    "62_unquoted_thousands": "line 2",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: Path(folder).name)
def test_every_shared_file_is_drafted_and_accepted_or_refused_clearly(folder):
    path, options = folder / "my.csv", Options((folder / "target").read_text().strip())
    if folder.name in REFUSED:
        with pytest.raises(TrainingDataInvalid, match=REFUSED[folder.name]):
            draft_schema(path, options)
        return
    found = draft_schema(path, options)
    rows = np.arange(len(found.outcome.approved))
    bits = accepted_bits(path, found, options, Layout(found.schema), rows)
    assert len(bits) == len(rows)
    assert not {"leak", "id"} & {column.name for column in found.schema.columns()}
