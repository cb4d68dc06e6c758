"""Files as banks, spreadsheets and statistics programs write them.

Each gives the rows of the plain file, in training and in a lender's agent, and a note of every
assumption; or it is refused with the line, the column and the field of the schema to set.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.encoding import Layout
from features.numbers import read_numbers
from features.records import parse_records
from features.schema import OrdinalColumn, Schema
from settings import ROOT
from training.data import split, training_frame
from utils.errors import SchemaInvalid, TrainingDataInvalid

FAILING = next(
    (
        found
        for folder in (ROOT.parent, ROOT.parent.parent)  # of a work tree, one folder higher
        if (found := folder / "shared" / "failing" / "data").is_dir()
    ),
    None,
)
COLUMNS: dict[str, dict[str, Any]] = {
    "income": {"kind": "ordinal", "minimum": 0, "maximum": 1_000_000, "cuts": [20_000, 40_000]},
    "months": {"kind": "ordinal", "minimum": 0, "maximum": 480, "cuts": [12, 36], "integer": True},
    "job": {"kind": "categorical", "values": ["office", "other", "trade"]},
    "owner": {"kind": "boolean"},
}
HEADER = [*COLUMNS, "BAD"]
ROWS = [
    ["47000", "10", "office", "1", "1"],
    ["19500", "36", "trade", "0", "0"],
    ["38250", "60", "other", "1", "0"],
    ["5000", "1", "trade", "0", "1"],
]


def schema(decision: dict[str, Any] | None = None, **changes: dict[str, Any]) -> Schema:
    columns = [
        {"name": name, "label": name, **column, **changes.get(name, {})}
        for name, column in COLUMNS.items()
    ]
    parties = [("applicant", columns[:2]), ("bank", columns[2:])]
    return Schema.parse(
        {
            "name": "mini",
            "title": "Mini",
            "parties": [{"name": n, "label": n, "columns": own} for n, own in parties],
            "decision": {"target": "BAD", **(decision or {})},
        }
    )


PLAIN = schema()


def file_of(
    rows: list[list[str]] = ROWS, header: list[str] = HEADER, separator: str = ",", end: str = "\n"
) -> str:
    def written(field: str) -> str:
        return f'"{field}"' if separator in field else field

    return "".join(separator.join(map(written, row)) + end for row in [header, *rows])


def column(name: str, *texts: str) -> list[list[str]]:
    """Return the rows with other texts in a column."""
    at = HEADER.index(name)
    rows = zip(ROWS, texts, strict=True)
    return [[*row[:at], text, *row[at + 1 :]] for row, text in rows]


def read(folder: Path, content: str | bytes, own: Schema, target: str | None = None):
    """Read a file as training and as a lender; returns the bits, the outcomes and the notes."""
    data = content.encode() if isinstance(content, str) else content
    path = folder / "my.csv"
    path.write_bytes(data)
    notes: list[str] = []
    frame, y = training_frame(own, [path], target, 0, 0, notes=notes)
    layout = Layout(own)
    bits = layout.encode_frame(frame)
    lender_notes: list[str] = []
    records = parse_records(data, layout, target, notes=lender_notes)
    first = np.array([code.first_state for code in layout.codes])
    assert np.array_equal(layout.bits_of_states(records.states + first), bits)
    assert records.outcomes.tolist() == y.tolist() and lender_notes == notes
    return bits, y.tolist(), notes


SEMICOLONS = "Fields are separated by semicolons"
KINDS: dict[str, tuple[str | bytes, Schema, tuple[str, ...]]] = {
    "tabs": (file_of(separator="\t"), PLAIN, ("separated by tabs",)),
    "bars": (file_of(separator="|"), PLAIN, ("separated by vertical bars",)),
    "semicolons and decimal commas": (
        file_of(column("income", "47000,00", "19500,5", "38250,25", "5000"), separator=";"),
        PLAIN,
        (SEMICOLONS, "income: the comma is the decimal mark"),
    ),
    "German groups": (
        file_of(column("income", "47.000,00", "19.500,5", "38.250,25", "5.000"), separator=";"),
        PLAIN,
        (SEMICOLONS, "the comma is the decimal mark", "points between thousands"),
    ),
    "groups that only the cuts tell from decimals": (
        file_of(column("income", "47.000", "19.500", "38.250", "5.000"), separator=";"),
        PLAIN,
        (SEMICOLONS, "the point groups thousands, which fits the column's range and cuts"),
    ),
    "quoted groups and a currency": (
        file_of(column("income", "$47,000", "$19,500.50", "$38,250", "5000")),
        PLAIN,
        ("commas between thousands", "currency signs"),
    ),
    "Swiss groups": (
        file_of(column("income", "CHF 47'000", "19'500.5", "38\u202f250", "5 000")),
        PLAIN,
        ("blanks between thousands", "currency"),
    ),
    "UTF-16": (file_of(end="\r\n").encode("utf-16"), PLAIN, ()),
    "row names": (
        "".join(
            f"{'' if i < 0 else f'r{i},'}{line}\n"
            for i, line in enumerate(file_of().splitlines(), -1)
        ),
        PLAIN,
        ("the name of the row",),
    ),
    "Windows-1252": (
        file_of(column("job", "Büro", "trade", "other", "trade")).encode("cp1252"),
        schema(job={"values": ["Büro", "other", "trade"]}),
        ("Windows-1252",),
    ),
    "units": (
        file_of(column("months", "10 months", "36 months", "60+ months", "1 month")),
        PLAIN,
        ("months: numbers with a unit (month …)", "10+ is read as 10"),
    ),
    "percentages": (file_of(column("months", "10%", "36 %", "60%", "1%")), PLAIN, ("percentages",)),
    "ISO dates": (
        file_of(column("months", "2023-03-31", "2021-01-31", "2019-01-15", "2024-01-31")),
        PLAIN,
        ("months: dates are read as months before 2024-01-31, the newest date",),
    ),
    "German dates": (
        file_of(column("months", "31.03.2023", "31.1.2021", "15.1.2019", "31.01.2024")),
        PLAIN,
        ("months before 2024-01-31",),
    ),
    "dates with the day first, as the 31st shows": (
        file_of(column("months", "31/03/2023", "31/01/2021", "01/02/2019", "31/01/2024")),
        PLAIN,
        ("months before 2024-01-31",),
    ),
    "months by name": (
        file_of(column("months", "Mar-2023", "Jan-2021", "Jan-2019", "Jan-2024")),
        PLAIN,
        ("months before 2024-01-01",),
    ),
    "missing values": (
        file_of(column("job", "?", "trade", "N/A", "trade")),
        schema(job={"optional": True}),
        ("job: ?, N/A counts as missing (2 rows)",),
    ),
    "case, blanks and the .0 of pandas": (
        file_of(column("job", "1.0", " Trade", "OTHER ", "'trade'")),
        schema(job={"values": ["1", "other", "trade"]}),
        ("job: the case of letters, blanks",),
    ),
    "groups and other": (
        file_of(column("job", "clerk", "trade", "baker", "trade")),
        schema(job={"groups": {"office": ["clerk"]}, "other": "other"}),
        ("job: baker counts as other (1 row)",),
    ),
    "clipping": (
        file_of(column("income", "4700000", "19500", "38250", "-5")),
        schema(income={"clip": True}),
        ("income: a value beyond the range counts as 0 or 1,000,000 (2 rows)",),
    ),
    "ja and nein": (file_of(column("owner", "ja", "NEIN", "J", "n")), PLAIN, ()),
    "1 and 2": (
        file_of(column("owner", "1", "2", "1.0", "2")),
        PLAIN,
        ("owner: 1 is read as yes and 2 as no; if",),
    ),
    "own words": (
        file_of(column("owner", "2", "A1", "2", "A1")),
        schema(owner={"true_words": ["2"], "false_words": ["a1"]}),
        (),
    ),
    "headers of people": (
        file_of(header=["Monthly Income ", "MONTHS", "Jöb", "house-owner", "Bad"]),
        schema(income={"source": "monthly income"}, owner={"source": "house-owner"}),
        ("'Monthly Income '", "'MONTHS'", "'Jöb'", "'Bad'"),
    ),
    "row without a label": (
        file_of([*ROWS, ["wrong", "", "", "", "NA"]]),
        PLAIN,
        ("1 row has no BAD and is left out",),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_usual_file_has_the_rows_of_the_plain_one(tmp_path: Path, kind: str) -> None:
    content, own, expected = KINDS[kind]
    bits, y, notes = read(tmp_path, content, own)
    plain, outcomes, _ = read(tmp_path, file_of(), PLAIN)
    if kind == "missing values":  # whose bit the plain schema does not have
        layout = Layout(own)
        plain = layout.encode_frame(training_frame(own, [tmp_path / "my.csv"], None, 0, 0)[0])
        at = layout.code("job").first_bit
        plain[[0, 2], at : at + 4] = [0, 0, 0, 1]
    assert np.array_equal(bits, plain) and y == outcomes == [0, 1, 1, 0]
    assert len(notes) == len(expected), notes
    for note, text in zip(notes, expected, strict=True):
        assert text in note


@pytest.mark.parametrize(
    ("bad", "good", "decision"),
    [
        ("bad", "good", {}),
        ("Charged Off", "Fully Paid", {}),
        ("abgelehnt", "bewilligt", {"approved_value": 1}),  # the words say it
        ("-", "+", {}),
        ("2", "1", {}),
        ("1", "2", {"approved_value": 2}),
        ("1", "-1", {}),
        ("-1", "1", {"approved_value": 1}),
        ("1.0", "0.0", {}),
        ("Y", "N", {}),
        ("nein", "ja", {"approved_value": 1}),
        ("rot", "blau", {"approved_value": "Blau"}),
        ("9", "7", {"approved_value": 7}),
    ],
)
def test_labels_are_told_apart(
    tmp_path: Path, bad: str, good: str, decision: dict[str, Any]
) -> None:
    rows = column("BAD", bad, good, good, bad)
    _, y, notes = read(tmp_path, file_of(rows), schema(decision))
    assert y == [0, 1, 1, 0]
    said = [f"BAD: {good} means approval, and {bad} means denial; if that is wrong, set decision"]
    assert len(notes) == (bad != "1.0")
    assert all(note.startswith(start) for note, start in zip(notes, said, strict=False))


def test_target_with_blanks_may_be_named(tmp_path: Path) -> None:
    content = file_of(header=[*COLUMNS, "default next month"])
    assert read(tmp_path, content, PLAIN, "Default next month")[1] == [0, 1, 1, 0]


REFUSED: dict[str, tuple[str, Schema, str]] = {
    "soft labels": (
        file_of(column("BAD", "0.9", "0.1", "0.1", "0.9")),
        PLAIN,
        "line 2: BAD has probabilities .* round",
    ),
    "unknown words": (
        file_of(column("BAD", "rot", "blau", "blau", "rot")),
        PLAIN,
        'BAD has the labels "rot" or "blau"; set decision.approved_value in the schema',
    ),
    "a word that is no label": (
        file_of(column("BAD", "rot", "blau", "blau", "rot")),
        schema({"approved_value": "gelb"}),
        r"none of them is decision.approved_value in the schema \(gelb\)",
    ),
    "several labels": (
        file_of(column("BAD", "good", "bad", "current", "bad")),
        PLAIN,
        "line 4: BAD must have two labels.*leave out the rows",
    ),
    "no label": (file_of(column("BAD", "", "", "", "NA")), PLAIN, "no row has a BAD"),
    "a column without values": (
        file_of(column("job", "", "?", "", "")),
        PLAIN,
        "line 2: job has no value in any row: .*source in the schema, set optional",
    ),
    "multiplied units": (
        file_of(column("income", "47k", "19k", "38k", "5k")),
        PLAIN,
        "line 2: income cannot be '47k', which has a unit that multiplies",
    ),
    "mixed units": (
        file_of(column("months", "10 months", "3 years", "60 months", "1 month")),
        PLAIN,
        r"line 3: months cannot be '3 years', which has another unit than other rows \(month\)",
    ),
    "mixed decimal marks": (
        file_of(column("income", "47,5", "19.5", "38,25", "5,0"), separator=";"),
        PLAIN,
        "line 3: income cannot be '19.5', which has another decimal mark",
    ),
    "groups or decimals": (
        file_of(column("income", "47.000", "39.500", "38.250", "50.500"), separator=";"),
        schema(income={"cuts": [40, 40_000]}),
        "line 2: income cannot be '47.000', which may be a decimal or a number with a group",
    ),
    "dates of an unknown order": (
        file_of(column("months", "01/03/2023", "01/01/2021", "01/02/2019", "03/01/2024")),
        PLAIN,
        "months cannot be '01/03/2023', which may have the day or the month first: .*2024-05-31",
    ),
    "dates with two digits": (
        file_of(column("months", "Mar-23", "Jan-21", "Feb-19", "Jan-24")),
        PLAIN,
        "months cannot be 'Mar-23', which is not a date with four digits",
    ),
    "a category in two spellings": (
        file_of(column("job", "TRADE", "trade", "other", "trade")),
        schema(job={"values": ["Trade", "other", "trade"]}),
        "line 2: job cannot be 'TRADE': give one of Trade, other, trade, or set other or groups",
    ),
    "a source in two spellings": (
        file_of(header=["in come", "months", "in-come", "owner", "BAD"]),
        schema(income={"source": "In come"}),
        "line 1 has 2 columns called in come and in-come",
    ),
    "one column for two": (
        file_of(header=["income", "months", "x", "owner", "BAD"]),
        schema(job={"source": "Months"}),
        "months, job would be read from one column; give each its own source",
    ),
    "an unlisted number": (
        file_of(column("owner", "1", "2", "3", "2")),
        PLAIN,
        "line 3: owner cannot be '2'.*true_words.*line 4: owner cannot be '3'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_ambiguous_file_is_refused_with_the_remedy(tmp_path: Path, kind: str) -> None:
    content, own, complaint = REFUSED[kind]
    path = tmp_path / "my.csv"
    path.write_text(content)
    with pytest.raises(TrainingDataInvalid, match=complaint):
        training_frame(own, [path], None, 0, 0)
    with pytest.raises(TrainingDataInvalid):
        parse_records(content.encode(), Layout(own))


def test_one_error_names_ten_faults_with_their_lines(tmp_path: Path) -> None:
    wrong = [[f"x{i}", "10", "baker", "1", str(i % 2)] for i in range(12)]
    path = tmp_path / "my.csv"
    path.write_text(file_of([*ROWS, *wrong]))
    with pytest.raises(TrainingDataInvalid) as refused:
        training_frame(PLAIN, [path], None, 0, 0)
    message = refused.value.message
    assert re.findall(r"line (\d+)", message) == ["6", "6", *map(str, range(7, 15))]
    assert "job cannot be 'baker'" in message and "(and in 11 more rows)" in message
    assert message.endswith("; and 3 more wrong texts.") and "\n" not in message


def test_audited_and_further_columns_are_kept(tmp_path: Path) -> None:
    document = PLAIN.model_dump(mode="json")
    sex = {"name": "sex", "label": "Sex", "kind": "categorical", "values": ["f", "m"]}
    absent = {"name": "region", "label": "Region", "kind": "boolean"}
    own = Schema.parse(document | {"audit_columns": [sex, absent]})
    path = tmp_path / "my.csv"
    rows = [
        [*row, text, f"2024-0{i}-01"]
        for i, (row, text) in enumerate(zip(ROWS, "fM?m", strict=True), 1)
    ]
    path.write_text(file_of(rows, [*HEADER, "sex", "when"]))
    frame, _ = training_frame(own, [path], None, 0, 0, extra=["when", "BAD"])
    assert list(frame.columns) == [*COLUMNS, "sex", "when", "BAD"]
    assert frame["sex"].tolist() == ["f", "m", None, "m"]
    assert frame["when"].tolist() == ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"]
    with pytest.raises(TrainingDataInvalid, match="income is a column of the schema"):
        training_frame(own, [path], None, 0, 0, extra=["income"])


REFUSED_FOLDERS = {
    "08_duplicate_column": "line 1 has 2 columns called income",
    "11_all_missing": "line 2: owner has no value in any row",
    "20_unlisted_category": "line 9: job cannot be 'new': .*set other or groups",
    "21_above_maximum": "line 9: income cannot be '5000000': .*set clip",
    "28_name_space": "columns.0.ordinal.name: .*set source to the header",
    "29_name_hyphen": "columns.0.ordinal.name: .*set source to the header",
    "42_schema_trailing_comma": "a comma follows the last entry before line 1 column 712",
    "43_one_party": "give some of the columns to another party",
    "46_no_cuts": "list the numbers at which its bins begin",
    "53_label_probability": "line 2: BAD has probabilities",
    "58_empty": "it is empty",
    "59_header_only": "has a header but no rows",
    "61_long_rows": "line 2 has 6 fields, but the header has 5",
    "62_unquoted_thousands": "line 2 has 5 fields, but the header has 4",
    "69_audit_no_input": "unknown columns: sex; describe .* in audit_columns",
}
OTHER_ROWS = {"22_NA", "23_question_mark", "32_float_category", "51_missing_category_name"}
OTHER_LABELS = {"17_label_minus1", "38_rare_12", "68_label_means_good"}
"""-1 for bad and 1 for good, few bad, and 1 for good: approved_value is left at its default."""


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-99_999_999, 99_999_999), min_size=1, max_size=6),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", "."), ("", ".")]),
    st.sampled_from(["{}", "{} €", "$ {}", "{} %", "{} months"]),
)
def test_numbers_of_two_decimals_are_read_back_in_every_country(cents, marks, form) -> None:
    group, point = marks
    swapped = str.maketrans({",": group, ".": point})
    texts = [form.format(f"{each / 100:,.2f}".translate(swapped)) for each in cents]
    wide = OrdinalColumn(name="x", label="x", kind="ordinal", minimum=-1e6, maximum=1e6, cuts=[0])
    for separator in (",", ";"):
        read = read_numbers(wide, texts, separator)
        assert read.values == pytest.approx([each / 100 for each in cents]) and not read.faults


@pytest.mark.skipif(FAILING is None, reason="the files are not part of the repository")
def test_every_reported_file_is_read_or_refused_with_its_remedy() -> None:
    assert FAILING is not None
    folders = [path.parent for path in sorted(FAILING.glob("*/my.json"))]
    base = training_frame(Schema.load(folders[0] / "my.json"), [folders[0] / "my.csv"], "BAD", 0, 0)
    for folder in folders:
        target = (folder / "target").read_text().strip()
        try:
            own = Schema.load(folder / "my.json")
            frame, y = training_frame(own, [folder / "my.csv"], target, 0, 0)
        except (SchemaInvalid, TrainingDataInvalid) as error:
            expected = REFUSED_FOLDERS.get(folder.name)
            assert expected and re.search(expected, error.message), (folder.name, error.message)
            continue
        assert folder.name not in REFUSED_FOLDERS
        Layout(own).encode_frame(frame)
        split(frame, y, 20)
        if folder.name not in OTHER_LABELS:
            assert y.tolist() == base[1].tolist(), folder.name
        if folder.name not in OTHER_ROWS:
            same = frame["age"].equals(base[0]["age"])
            assert same and np.allclose(frame["income"], base[0]["income"], atol=1), folder.name


def test_documents_of_schemas_name_the_field_for_headers() -> None:
    document = json.loads(PLAIN.model_dump_json())
    document["parties"][0]["columns"][0]["name"] = "monthly income"
    with pytest.raises(SchemaInvalid, match=r"name: .*set source to the header of the data files"):
        Schema.parse(document)
