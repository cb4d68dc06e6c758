"""Labelled records of a CSV file: the same rows as training reads, and every refusal."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import records
from features.encoding import Layout
from features.records import parse_records, read_records
from features.schema import Schema
from settings import ROOT
from tests.strategies import QUICK, schemas
from training.data import training_frame
from utils.errors import TrainingDataInvalid

GERMAN = Layout(Schema.load(ROOT / "features" / "german_credit.json"))
HEADER = "note,age,sex,job,housing,credit,purpose,duration,credit_risk"
ROW = "x,40,male,skilled,rent,2500,radio/TV,12,1"


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def changed(column: str, text: str) -> str:
    """Return the row with another field."""
    fields = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {column: text}
    return ",".join(fields.values())


def test_states_are_counted_within_each_column() -> None:
    rows = (ROW, changed("sex", ""), changed("credit_risk", ""), changed("credit_risk", "no"))
    notes: list[str] = []
    found = parse_records(csv_of(*rows), GERMAN, notes=notes)
    assert notes[-1] == "1 row has no credit_risk and is left out."
    labels = [
        [code.state_labels[state] for code, state in zip(GERMAN.codes, row, strict=True)]
        for row in found.states
    ]
    known = [
        *("40 to under 45", "male", "skilled", "rent", "2500 to under 3000", "radio/TV", "12"),
    ]
    assert labels == [known, [known[0], "missing", *known[2:]], known]
    assert found.outcomes.tolist() == [1, 1, 0]
    assert found.states.dtype == np.uint8


@QUICK
@given(st.data())
def test_rows_are_those_that_training_reads(tmp_path_factory, data) -> None:
    schema = data.draw(schemas())
    layout = Layout(schema)
    rows = data.draw(
        st.lists(
            st.tuples(*(st.integers(0, code.n_states - 1) for code in layout.codes)),
            min_size=2,
            max_size=8,
        )
    )
    target = schema.decision.target
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*(code.column.name for code in layout.codes), target])
    for number, row in enumerate(rows):
        values = [code.value(state) for code, state in zip(layout.codes, row, strict=True)]
        writer.writerow([*("" if value is None else value for value in values), number % 2])
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_text(text.getvalue())

    own = read_records(path, layout)
    frame, y = training_frame(schema, [path], None, 0, 0)
    first = np.array([code.first_state for code in layout.codes])
    assert np.array_equal(own.states, rows)
    assert np.array_equal(layout.bits_of_states(own.states + first), layout.encode_frame(frame))
    assert np.array_equal(own.outcomes, y)


def test_another_target_may_be_named() -> None:
    data = csv_of(ROW, header=HEADER.replace("credit_risk", "repaid"))
    assert parse_records(data, GERMAN, "repaid").outcomes.tolist() == [1]
    with pytest.raises(TrainingDataInvalid, match="age is a column of the schema"):
        parse_records(data, GERMAN, "age")


PRIVATE = "4711"


@pytest.mark.parametrize(
    ("column", "text", "named"),
    [
        ("age", PRIVATE, "line 3: age has a wrong value: give a whole number from 18 to 120"),
        ("age", "forty", "line 3: age has a wrong value"),
        ("age", "40.5", "line 3: age has a wrong value"),
        ("age", "nan", "line 3: age is missing"),
        ("age", "1e999", "line 3: age has a wrong value"),
        ("age", "4" * 5000, "line 3: age has a wrong value"),
        ("age", PRIVATE + "k", "line 3: age has a wrong value, which has a unit that multiplies"),
        ("age", "", "line 3: age is missing"),
        ("credit", "-" + PRIVATE, "line 3: credit has a wrong value"),
        ("job", PRIVATE, "line 3: job has a wrong value: give one of unskilled non-resident"),
        ("sex", PRIVATE, "line 3: sex has a wrong value: give one of female, male, or nothing"),
        ("credit_risk", PRIVATE, "line 4: credit_risk has a wrong label: give two labels"),
        ("credit_risk", "0." + PRIVATE, "line 3: credit_risk has a wrong label: give two labels"),
        ("duration", "12,5", "line 3 has 10 fields, but the header has 9"),
    ],
)
def test_refused_field_is_named_with_its_line_and_without_its_value(column, text, named) -> None:
    with pytest.raises(TrainingDataInvalid, match=named) as refused:
        bad = changed("credit_risk", "0") if "line 4" in named else ROW
        parse_records(csv_of(bad, changed(column, text), ROW), GERMAN)
    assert PRIVATE not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "it is empty"),
        (csv_of(), "has a header but no rows"),
        (csv_of(ROW, header=HEADER.replace("job", "work")), "has no column job"),
        (csv_of(ROW, header=HEADER.replace("note", "age")), "2 columns called age"),
        (csv_of(ROW, header=HEADER.replace(",", ";")), "line 2 has 1 fields"),
        (csv_of(ROW) + b"\x81", "is not in UTF-8"),
    ],
)
def test_file_of_another_form_is_refused(data, named) -> None:
    with pytest.raises(TrainingDataInvalid, match=named):
        parse_records(data, GERMAN)


def test_size_is_bounded_before_use(tmp_path, monkeypatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_of(ROW, ROW))
    monkeypatch.setattr(records, "MOST_ROWS", 2)
    assert len(read_records(path, GERMAN)) == 2
    monkeypatch.setattr(records, "MOST_ROWS", 1)
    with pytest.raises(TrainingDataInvalid, match="line 3 is beyond the limit of 1 rows"):
        read_records(path, GERMAN)
    monkeypatch.setattr(records, "MOST_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(records, "parse_records", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(TrainingDataInvalid, match=r"larger than .* the limit for one holder"):
        read_records(path, GERMAN)


def test_path_that_is_no_readable_file_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    with pytest.raises(TrainingDataInvalid, match="pipe is not a file"):
        read_records(tmp_path / "pipe", GERMAN)
    with pytest.raises(TrainingDataInvalid, match="cannot be read: No such file"):
        read_records(tmp_path / "nowhere.csv", GERMAN)


def test_large_file_is_read_in_seconds() -> None:
    data = csv_of(*[ROW, changed("age", "61"), changed("purpose", "repairs")] * 66_667)
    start = process_time()
    assert len(parse_records(data, GERMAN)) == 200_001
    assert process_time() - start < 10  # 0.9 s where it was written


def test_reading_needs_no_pandas() -> None:
    script = "import sys, features.records; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 0
