"""Every form of CSV file is either read unambiguously or refused with the line."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import training.train
from features.schema import Schema
from training import csv_rows
from training.csv_rows import LINE, read_columns, read_header
from training.data import training_frame
from utils.errors import TrainingDataInvalid

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "name": "tiny",
    "title": "Tiny",
    "parties": [
        {
            "name": "one",
            "label": "One",
            "columns": [
                {"name": "Income", "label": "Income", "kind": "ordinal", "minimum": 0,
                 "maximum": 1_000_000, "cuts": [50, 200, 1000], "default": 10},
            ],
        },
        {
            "name": "two",
            "label": "Two",
            "columns": [
                {"name": "Years", "label": "Years", "kind": "ordinal", "minimum": 0,
                 "maximum": 1000, "cuts": [2, 5, 10], "default": 3},
                {"name": "Own", "label": "Own", "kind": "boolean", "default": False},
            ],
        },
    ],
    "decision": {"target": "BAD"},
    "explanation": {"column": "Years", "phrase": "years"},
}  # fmt: skip


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(frame: pd.DataFrame) -> list[tuple[int, ...]]:
    return list(frame.itertuples(name=None))


# --- accepted files


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3,4\n",
        b"a,b\n1,2\n3,4",  # no line end at the end
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
        b"a,b\r\n1,2\r\n3,4\r\n",
        b"a,b\r1,2\r3,4\r",
        "a,b\n1,2\n3,4\n".encode("utf-16"),
        "\ufeffa,b\r\n1,2\r\n3,4\r\n".encode("utf-16-be"),
        b'"a","b"\n"1","2"\n"3","4"\n',
        b"a;b\n1;2\n3;4\n",
        b"a\tb\n1\t2\n3\t4\n",
        b"a|b\n1|2\n3|4\n",
    ],
    ids=[
        *("LF", "no end", "BOM", "CRLF", "CR", "UTF-16", "UTF-16 BE", "quoted"),
        *("semicolons", "tabs", "vertical bars"),
    ],
)
def test_every_accepted_format_gives_the_same_table(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert read_header(path) == ["a", "b"]
    assert rows_of(read_columns(path, ["b", "a"])) == [(2, 2, 1), (3, 4, 3)]


def test_quoted_fields_may_contain_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n"1,5\nand ""x""",2\n\u2028\x85,3\n')
    frame = read_columns(path, ["a", "b"], text=["a"])
    assert frame["a"].tolist() == ['1,5\nand "x"', "\u2028\x85"]
    assert frame.index.tolist() == [2, 4]  # the first row takes two lines
    assert frame.index.name == LINE


def test_column_is_numeric_if_every_field_is(tmp_path: Path) -> None:
    text = "whole,real,mixed,word,code,empty\n1,1.5,1,nan,01,\n2,,x,2,,\n"
    path = written(tmp_path, text)
    frame = read_columns(path, read_header(path), text=["code"])
    assert frame["whole"].dtype == int
    assert frame["real"].dtype == float
    assert frame["mixed"].tolist() == ["1", "x"]
    assert frame["word"].tolist() == ["nan", "2"]  # text, not a missing value
    assert frame["code"].tolist() == ["01", None]
    assert frame["empty"].isna().all()


def test_empty_lines_and_unnamed_columns_are_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, "\n,a,note,note,\n\n0,1,x,y,\n\n1,2,x,y,\n\n")
    assert rows_of(read_columns(path, ["a"])) == [(4, 1), (6, 2)]


def test_file_larger_than_the_read_buffer_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_ROWS_AT_ONCE", 7)
    rows = [(line, line * 10) for line in range(2, 102)]
    path = written(tmp_path, "a\n" + "".join(f"{value}\n" for _, value in rows))
    assert rows_of(read_columns(path, ["a"])) == rows
    path = written(tmp_path, path.read_text() + "1,2\n")
    with pytest.raises(TrainingDataInvalid, match="line 102 has 2 fields"):
        read_columns(path, ["a"])


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    command = (
        "from pathlib import Path; from training.csv_rows import read_columns; "
        "print(read_columns(Path('/dev/stdin'), ['a', 'b']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, input="a,b\n7,1\n", capture_output=True,
        text=True,
    )  # fmt: skip
    assert ended.stdout.split() == ["a", "b", "line", "2", "7", "1"], ended.stderr


@pytest.mark.parametrize("separator", [",", ";", " "])
def test_row_names_that_the_header_lacks_are_left_out(tmp_path: Path, separator: str) -> None:
    rows = [["a", "b"], ["r1", "1", "2"], ["r2", "3", "4"]]
    path = written(tmp_path, "".join(separator.join(row) + "\n" for row in rows))
    assert rows_of(read_columns(path, ["b", "a"])) == [(2, 2, 1), (3, 4, 3)]
    path = written(tmp_path, path.read_text().replace("r", ""))  # numbers, as R writes by default
    assert rows_of(read_columns(path, ["a"])) == [(2, 1), (3, 3)]
    quoted = ["a", "b"], ['"17"', "1", '"x"'], ['"5"', "3", '"y"']  # of chosen rows
    path = written(tmp_path, "".join(separator.join(row) + "\n" for row in quoted))
    assert rows_of(read_columns(path, ["b", "a"])) == [(2, "x", 1), (3, "y", 3)]


def test_a_line_of_millions_of_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + b"1," + b"0" * 100_000 + b"\n")
    assert len(read_columns(path, ["a", "b"])) == 1  # the control
    for content, line in ((b"c," * (2 << 20), 1), (b"a,b\n" + b"," * (3 << 20), 2)):
        path.write_bytes(content)
        with pytest.raises(TrainingDataInvalid, match=f"line {line} has more than 2097152 char"):
            read_columns(path, ["a", "b"])


def test_windows_1252_is_read_unless_other_lines_are_utf8(tmp_path: Path) -> None:
    path = written(tmp_path, "größe,b\nBäcker,€\n".encode("cp1252"))
    assert rows_of(read_columns(path, ["größe", "b"])) == [(2, "Bäcker", "€")]


def test_separator_that_excel_declares_is_used(tmp_path: Path) -> None:
    path = written(tmp_path, "sep=;\r\na,x;b\r\n1;2\r\n")
    assert rows_of(read_columns(path, ["b"])) == [(3, 2)]


# --- refused files


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a,b\n1,2\n1,2,3\n", r"line 3 has 3 fields, but the header has 2; .* 157,000"),
        ("a,b\n1,2,3\n1,2,3\n", r"line 2 has 3 fields"),  # every row, but no row names
        ("a,b\nx,2,3\nx,2,3\n", r"line 2 has 3 fields"),
        ("a,b\n7,2,3\n9,2,3\n", r"line 2 has 3 fields"),
        ("id,a,b\nx,7,000,1\ny,7,500,1\n", r"line 2 has 4 fields"),  # x is the id of the row
        ("who,a,b\nx,7,000,1\ny,7,500,1\n", r"line 2 has 4 fields"),  # a group of thousands
        ("a,b\nx,1,2\ny,1\n", r"line 2 has 3 fields"),
        ("a,b\n1,2\n1\n", r"line 3 has 1 fields, but the header has 2; .*empty field"),
        ("a,b\n1,2\n   \n", "line 3 has 1 fields"),
        ('a,b\n"1\n\n",2\n1,2,3\n', "line 5 has 3 fields"),  # after a field of three lines
        ("a,b\r1,2\r1,2,3\r", "line 3 has 3 fields"),
        ("a,b\r\n1,2\r\n1,2,3\r\n", "line 3 has 3 fields"),
        ("\na,b\n1,2\n1\n", "line 4 has 1 fields"),
        ("a,b\n1;2\n", "line 2 has 1 fields"),
        ("a;b\n7;2;3\n", r"line 2 has 3 fields, but the header has 2; put any field"),
        ("b,a,b\n1,2,3\n", "line 1 has 2 columns called b"),
        ('a,b\n1,2\n"1,2\n3,4\n', r"line 3 begins a row with unbalanced double quotes"),
        ('a,b\n1,"2"x\n', r"line 2 begins a row with unbalanced double quotes"),
        ('a,b\n1,"' + "x" * 200_000 + '"\n', "line 2 begins a row"),
        (b"a,b\n\xc3\xa4,2\n\xe4,4\n", r"line 3 is not in UTF-8, although others are; save .* CSV"),
        (b"a,b\r\xc3\xa4,2\r\xe4,4\r", "line 3 is not in UTF-8"),
        (b"a,b\n1,2\n\x81,4\n", "line 3 is not in UTF-8"),  # no letter of Windows-1252
        (b"a,b\n1,2\n3\0,4\n", "line 3 contains a NUL character"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1 contains a NUL character; .*UTF-8"),  # no BOM
        ("a,b\n1,2\n".encode("utf-32"), "line 1 contains a NUL character"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "starts like UTF-16 but is not valid"),
        (b"PK\x03\x04\xff", "line 1 is not in UTF-8; .*spreadsheet"),
        (b"\x1f\x8b\x08\0\0", "line 1 contains a NUL character"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
    ],
)
def test_invalid_file_error_names_the_line(
    tmp_path: Path, content: bytes | str, complaint: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TrainingDataInvalid, match=complaint) as refused:
        read_columns(path, ["a", "b"])
    assert str(path) in refused.value.message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Years,Income,Own,BAD\n1,1,1,\n2,1,1,\n", "line 2: no row has a BAD"),
        ("Years,Income,Own,BAD\n1,1,1,0\n2,1,1,maybe\n", 'the labels "0" or "maybe"; set dec'),
        ("Years,Income,Own,BAD\n1,1,1,0\n2,1,1,1\n3,1,1,x\n", "line 4: BAD must have two labels"),
        (" Year,Income,Own,BAD\n1,1,1,0\n", "no column Years; it has ' Year', Income"),
    ],
)
def test_unusable_rows_are_reported_with_their_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(TrainingDataInvalid, match=complaint):
        training_frame(Schema.parse(TINY), [written(tmp_path, text)], None, 0, 0)


# --- the error that strict reading prevents


def thousands(separator: str = ",") -> str:
    """Return 600 rows like `18,88,000,0,1`: an income in thousands whose comma is not quoted."""
    draw = random.Random(5)
    lines = ["Years,Income,Own,BAD"]
    for _ in range(600):
        years, income = draw.randrange(20), draw.randrange(20, 300)
        bad = int(income < 120 + draw.gauss(0, 30))
        lines.append(f"{years},{income}{separator}000,{draw.randrange(2)},{bad}")
    return "\n".join(lines) + "\n"


def tiny_schema(folder: Path) -> Path:
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


def test_training_refuses_rows_with_one_field_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path, thousands())
    arguments = ["--schema", tiny_schema(tmp_path), "--data", data, "--out", tmp_path / "model"]
    assert training.train.main([*map(str, arguments), "--no-timing"]) == 1
    assert "line 2 has 5 fields, but the header has 4" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_pandas_without_the_check_misreads_the_label(tmp_path: Path) -> None:
    """Control: pandas misreads the same file without an error."""
    data = written(tmp_path, thousands())
    with pytest.warns(pd.errors.ParserWarning):
        shifted = pd.read_csv(data, index_col=False)
    right = pd.read_csv(written(tmp_path, thousands(separator="")))
    assert not shifted["BAD"].equals(right["BAD"])
    assert shifted["BAD"].isin([0, 1]).all()


def test_rows_without_the_extra_comma_are_read_correctly(tmp_path: Path) -> None:
    data = written(tmp_path, thousands(separator=""))
    frame, approved = training_frame(Schema.parse(TINY), [data], None, 0, 0)
    assert frame["Income"].min() >= 20_000
    assert approved.tolist() == (1 - pd.read_csv(data)["BAD"]).tolist()


@given(
    st.lists(st.lists(st.text(max_size=4), min_size=2, max_size=2), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_written_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    if any("\0" in field for row in rows for field in row):
        with pytest.raises(TrainingDataInvalid, match="NUL"):
            read_columns(path, ["a", "b"], text=["a", "b"])
        return
    frame = read_columns(path, ["a", "b"], text=["a", "b"])
    assert frame.to_numpy().tolist() == [[field or None for field in row] for row in rows]
