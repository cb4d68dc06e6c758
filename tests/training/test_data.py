"""The loaders on tiny files: every rule and every error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.encoding import Layout
from features.schema import Schema
from training import synthetic
from training.data import SMALLEST_CLASS as FEWEST
from training.data import as_boolean, load_credit_records, split, training_frame
from utils.errors import TrainingDataInvalid

FEATURES = Path(__file__).parents[2] / "features"
DEMO = Schema.load(FEATURES / "credit_card.json")
FAIR = Schema.load(FEATURES / "credit_card_fair_lending.json")

APPLICATION_HEADER = (
    "ID,CODE_GENDER,FLAG_OWN_CAR,FLAG_OWN_REALTY,CNT_CHILDREN,AMT_INCOME_TOTAL,NAME_INCOME_TYPE,"
    "NAME_EDUCATION_TYPE,NAME_FAMILY_STATUS,NAME_HOUSING_TYPE,DAYS_BIRTH,DAYS_EMPLOYED,FLAG_MOBIL,"
    "FLAG_WORK_PHONE,FLAG_PHONE,FLAG_EMAIL,OCCUPATION_TYPE,CNT_FAM_MEMBERS"
)
APPLICATIONS = f"""{APPLICATION_HEADER}
1,M,Y,N,0,427500.0,Working,Higher education,Married,With parents,-12005,-4542,1,1,0,0,Managers,2.0
2,F,N,Y,1,112500.0,Pensioner,Lower secondary,Widow,House / apartment,-21474,365243,1,0,0,0,,2.0
3,F,N,Y,0,270000.0,Working,Incomplete higher,Married,With parents,-9000,-20,1,0,1,1,Sales staff,2.0
3,F,Y,Y,4,999000.0,Working,Higher education,Married,With parents,-9999,-99,1,0,1,1,Sales staff,6.0
4,M,N,N,0,90000.0,Working,Lower secondary,Married,With parents,-9000,-20,1,0,1,1,Sales staff,2.0
"""
RECORDS = """ID,MONTHS_BALANCE,STATUS
1,0,X
1,-1,0
1,-15,1
2,-3,C
2,-4,2
3,0,C
3,-2,5
9,0,0
"""

GRADES = ["01", "2", "None"]
APPLICANT = [
    {"name": "Owner", "kind": "boolean", "label": "Owner"},
    {"name": "Grade", "kind": "categorical", "label": "Grade", "values": GRADES, "optional": True},
]
YEARS = {"name": "Years", "kind": "ordinal", "label": "Years", "optional": True}
BANK = [YEARS | {"minimum": 0, "maximum": 50, "cuts": [2, 5]}]
PARTIES = [
    {"name": "applicant", "label": "Applicant", "columns": APPLICANT},
    {"name": "bank", "label": "Bank", "columns": BANK},
]


def own_schema(target: str = "Bad", approved_value: int = 0) -> Schema:
    return Schema.parse(
        {
            "name": "own",
            "title": "Own",
            "parties": PARTIES,
            "decision": {"target": target, "approved_value": approved_value},
            "explanation": {"column": "Years", "phrase": "years"},
        }
    )


def written(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def credit_files(tmp_path: Path) -> list[Path]:
    return [written(tmp_path, APPLICATIONS, "a.csv"), written(tmp_path, RECORDS, "c.csv")]


# --- as_boolean


@pytest.mark.parametrize(
    "values",
    [["yes", "no"], ["Y", "N"], [" t ", "FALSE"], ["1", "0"], [1, 0], [1.0, 0.0], [True, False]],
)
def test_usual_spellings_of_yes_and_no_are_accepted(values: list[object]) -> None:
    result = as_boolean(pd.Series(values, name="Owner"))
    assert result.dtype == bool
    assert result.tolist() == [True, False]


def test_a_missing_boolean_stays_missing() -> None:
    assert as_boolean(pd.Series([1.0, np.nan, 0.0])).tolist() == [True, None, False]
    assert as_boolean(pd.Series(["Y", None])).tolist() == [True, None]


def test_other_words_are_not_booleans() -> None:
    with pytest.raises(TrainingDataInvalid, match=r"Owner must contain yes or no.*maybe"):
        as_boolean(pd.Series(["yes", "maybe"], name="Owner"))


# --- load_credit_records


def test_credit_records_become_applicants(credit_files: list[Path]) -> None:
    frame = load_credit_records(*credit_files)
    assert set(frame.columns) == set(synthetic.draw(1, 0).columns)
    assert len(frame) == 3  # 3 only once, 4 has no records, 9 no application
    first, pensioner, third = (frame.iloc[i] for i in range(3))
    assert (first["Own_car"], first["Own_property"], first["Mobile_phone"]) == (True, False, True)
    assert first["Age"] == pytest.approx(12005 / 365.25)
    assert first["Years_employed"] == pytest.approx(4542 / 365.25)
    assert first["Employed"]
    assert first["Household_size"] == 2
    assert first["Total_income"] == 427500
    assert first["Occupation_type"] == "Managers"
    assert first["Account_age"] == 15
    assert first["Denied"] == 0  # status 1 is less than 60 days late
    assert not pensioner["Employed"]
    assert pensioner["Years_employed"] == 0
    assert pensioner["Occupation_type"] is None
    assert pensioner["Account_age"] == 4
    assert pensioner["Denied"] == 1
    assert third["Total_income"] == 270000  # the first of two rows with one ID
    assert third["Num_children"] == 0
    assert third["Denied"] == 1
    Layout(DEMO).encode_frame(frame)


def test_credit_records_without_a_required_column_are_refused(credit_files: list[Path]) -> None:
    written(credit_files[1].parent, RECORDS.replace("STATUS", "STATE"), "c.csv")
    with pytest.raises(TrainingDataInvalid, match="no column STATUS; it has ID, MONTHS_BALANCE"):
        load_credit_records(*credit_files)
    written(credit_files[0].parent, APPLICATIONS.replace("DAYS_BIRTH", "BIRTHDAY"), "a.csv")
    with pytest.raises(TrainingDataInvalid, match="no column DAYS_BIRTH"):
        load_credit_records(*credit_files)


def test_credit_records_without_common_ids_are_refused(credit_files: list[Path]) -> None:
    written(credit_files[1].parent, "ID,MONTHS_BALANCE,STATUS\n77,0,0\n", "c.csv")
    with pytest.raises(TrainingDataInvalid, match=r"No ID of .*a\.csv occurs in .*c\.csv"):
        load_credit_records(*credit_files)


def test_credit_records_with_text_for_a_number_are_refused(credit_files: list[Path]) -> None:
    written(credit_files[0].parent, APPLICATIONS.replace("427500.0", "a lot"), "a.csv")
    with pytest.raises(TrainingDataInvalid, match=r"AMT_INCOME_TOTAL must contain numbers.*a lot"):
        load_credit_records(*credit_files)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("2,-4,2", "2,-4,2,", r"c\.csv cannot be read: line 6 has 4 fields"),
        ("2,-4,2", "2,-4", r"c\.csv cannot be read: line 6 has 2 fields"),
        ("2,-4,2", "2,-4,9", r"STATUS must be one of 0, 1, .* first in line 6 of .*c\.csv"),
        ("2,-4,2", "2,-4,", "STATUS must be one of .* first in line 6"),
        (
            "2,-4,2",
            "2,four,2",
            "MONTHS_BALANCE must contain numbers, but contains four, first in line 6",
        ),
        ("270000.0", "270,000", r"a\.csv cannot be read: line 4 has 19 fields"),
        ("270000.0", "a lot", "AMT_INCOME_TOTAL must contain numbers, .* first in line 4"),
    ],
)
def test_invalid_credit_record_row_is_refused(
    credit_files: list[Path], old: str, new: str, complaint: str
) -> None:
    written(credit_files[0].parent, APPLICATIONS.replace(old, new, 1), "a.csv")
    written(credit_files[1].parent, RECORDS.replace(old, new), "c.csv")
    with pytest.raises(TrainingDataInvalid, match=complaint):
        training_frame(FAIR, credit_files, None, 0, 0)


# --- training_frame


def test_synthetic_frame_for_both_schemas() -> None:
    for schema in (DEMO, FAIR):
        frame, y = training_frame(schema, None, None, 500, 3)
        assert list(frame.columns) == [column.name for column in schema.columns()]
        assert y.dtype == np.int8
        assert np.array_equal(y, 1 - synthetic.draw(500, 3)["Denied"])
        assert len(Layout(schema).encode_frame(frame)) == 500


def test_a_category_that_an_optional_column_does_not_list_becomes_missing() -> None:
    drawn = synthetic.draw(500, 3)["Income_type"]
    frame, _ = training_frame(FAIR, None, None, 500, 3)
    assert frame["Income_type"][drawn == "Pensioner"].isna().all()
    assert frame["Income_type"][drawn != "Pensioner"].notna().all()


def test_two_files_in_any_order_are_the_public_credit_data(credit_files: list[Path]) -> None:
    for data in (credit_files, credit_files[::-1]):
        frame, y = training_frame(FAIR, data, None, 0, 0)
        assert y.tolist() == [1, 0, 0]
        assert frame["Account_age"].tolist() == [15, 4, 2]
        assert frame["Income_type"].tolist() == ["Working", None, "Working"]


def test_own_csv_follows_its_schema(tmp_path: Path) -> None:
    path = written(
        tmp_path, "\ufeffOwner,x,Grade,Years,Bad,Good\nyes,,01,3,0,0\nno,,None,,1,1\ny,,,9.5,no,0\n"
    )
    frame, y = training_frame(own_schema(), [path], None, 0, 0)
    assert list(frame.columns) == ["Owner", "Grade", "Years"]
    assert frame["Owner"].dtype == bool and frame["Owner"].tolist() == [True, False, True]
    assert frame["Grade"].tolist() == ["01", "None", None]  # a value of the schema, and missing
    assert frame["Years"].tolist() == pytest.approx([3, np.nan, 9.5], nan_ok=True)
    assert y.tolist() == [1, 0, 1]
    assert len(Layout(own_schema()).encode_frame(frame)) == 3
    # Another target, and one whose 1 means approval.
    assert training_frame(own_schema(), [path], "Good", 0, 0)[1].tolist() == [1, 0, 1]
    assert training_frame(own_schema("Good", 1), [path], None, 0, 0)[1].tolist() == [0, 1, 0]


def test_missing_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataInvalid, match="cannot be read: No such file"):
        training_frame(own_schema(), [tmp_path / "absent.csv"], None, 0, 0)


def test_synthetic_data_cannot_serve_every_schema() -> None:
    with pytest.raises(TrainingDataInvalid, match=r"no column Owner, Grade, Years.*--data"):
        training_frame(own_schema("Denied"), None, None, 100, 0)
    with pytest.raises(TrainingDataInvalid, match=r"no column Default.*--data"):
        training_frame(DEMO, None, "Default", 100, 0)


def test_too_many_files_or_unknown_ones_are_refused(credit_files: list[Path]) -> None:
    with pytest.raises(TrainingDataInvalid, match=r"--data takes one CSV.*not 3"):
        training_frame(DEMO, [*credit_files, credit_files[0]], None, 0, 0)
    for twice in (credit_files[:1] * 2, credit_files[1:] * 2):
        with pytest.raises(
            TrainingDataInvalid, match="Two files must be those of the public credit data"
        ):
            training_frame(DEMO, twice, None, 0, 0)


@pytest.mark.parametrize(
    ("text", "target", "complaint"),
    [
        ("Owner,Grade,Years,Bad\n1,2,3,0\n0,2,1,0\n", None, "All 2 rows"),
        ("Owner,Grade,Years,Bad\n1,2,3,0\n0,2,few,1\n", None, "line 3: Years cannot be 'few'"),
        ("Owner,Grade,Years,Bad\n1,2,3,0\n5,2,1,1\n", None, "line 3: Owner cannot be '5'"),
        ("Owner,Grade,Years,Bad\n1,2,3,0\n1,1,1,1\n", None, "line 3: Grade cannot be '1'.*other"),
        ("Owner,Grade,Years,Bad\n1,2,3,0\n0,2,1,1\n", "Owner", "Owner is a column"),
        ("Owner,Grade,Years\n1,2,3\n", None, "no column Bad; it has Owner, Grade, Years"),
        ("Grade,Years,Bad\n1,2,3\n", None, "no column Owner; it has Grade"),
        ("Owner,Grade,Years,Bad\n", None, "has a header but no rows"),
        ("", None, "it is empty"),
    ],
)
def test_own_csv_that_does_not_match_the_schema_is_refused(
    tmp_path: Path, text: str, target: str | None, complaint: str
) -> None:
    with pytest.raises(TrainingDataInvalid, match=complaint):
        training_frame(own_schema(), [written(tmp_path, text)], target, 0, 0)


# --- split


def test_split_is_stratified_disjoint_and_repeatable() -> None:
    frame = pd.DataFrame({"Row": np.arange(1000)})
    y = (np.arange(1000) % 10 < 3).astype(np.int8)
    parts = split(frame, y, 7)
    three = (parts.train, parts.validation, parts.test)
    assert [len(part.y) for part in three] == [600, 200, 200]
    assert sorted(np.concatenate([part.frame["Row"] for part in three])) == list(range(1000))
    for part in three:
        assert part.y.mean() == pytest.approx(0.3)
        assert np.array_equal(part.y, y[part.frame["Row"]])
    assert split(frame, y, 7).test.frame.equals(parts.test.frame)
    assert not split(frame, y, 8).test.frame.equals(parts.test.frame)


def test_split_needs_both_outcomes() -> None:
    y = np.zeros(100, np.int8)
    y[: FEWEST - 1] = 1
    frame = pd.DataFrame({"Row": np.arange(100)})
    with pytest.raises(TrainingDataInvalid, match="Only 9 of 100 rows"):
        split(frame, y, 0)
    y[FEWEST - 1] = 1
    assert all(set(part.y) == {0, 1} for part in vars(split(frame, y, 0)).values())
