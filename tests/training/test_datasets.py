"""The command that writes data sets: conversion by the code table, checks and bounds."""

from __future__ import annotations

import csv
import hashlib
import io
import stat
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import httpx
import pytest

from features.encoding import Layout
from features.records import read_records
from features.schema import Schema
from settings import ROOT
from tests.training.south_german_file import south_german_file
from training import south_german
from training.datasets import downloaded, main
from utils.errors import ServerUnreachable, TrainingDataInvalid

LAYOUT = Layout(Schema.load(ROOT / "features" / "german_credit.json"))
GERMAN_NAMES = " ".join(south_german.NAMES)
# Invented rows in the form of the data.
ROWS = [
    "1 18 4 2 1000 1 2 4 2 1 4 2 21 3 1 1 1 2 1 2 1",
    "2 9 2 10 2500 1 3 2 1 1 2 1 36 3 2 2 2 1 1 2 0",
    "3 24 2 4 700 1 3 2 3 1 2 1 44 3 3 2 3 1 1 2 1",
    "3 60 2 0 18000 1 3 2 4 1 2 1 75 3 3 2 4 1 1 2 0",
]
CONVERTED = [
    ["21", "", "unskilled non-resident", "free", "1000", "car (used)", "18", "1"],
    ["36", "male", "unskilled resident", "rent", "2500", "business", "9", "0"],
    ["44", "male", "skilled", "own", "700", "radio/TV", "24", "1"],
    ["75", "female", "highly skilled", "own", "18000", "others", "60", "0"],
]


def table(*rows: str, ending: str = "\n") -> bytes:
    return ending.join([GERMAN_NAMES, *rows, ""]).encode()


def packed(data: bytes, name: str = south_german.MEMBER) -> bytes:
    archive = io.BytesIO()
    with ZipFile(archive, "w", ZIP_DEFLATED) as file:
        file.writestr("codetable.txt", "codes")
        file.writestr(name, data)
    return archive.getvalue()


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the invented rows the published ones."""
    text = "".join(row.replace(" ", ",") + "\n" for row in ROWS)
    monkeypatch.setattr(south_german, "DIGEST", hashlib.sha256(text.encode()).hexdigest())
    monkeypatch.setattr(south_german, "ROWS", len(ROWS))


@pytest.mark.parametrize(
    "data",
    [
        table(*ROWS),
        packed(table(*ROWS, ending="\r\n")),
        "\r\n".join(
            [",".join(south_german.NAMES.values()), *(row.replace(" ", ",") for row in ROWS)]
        ).encode(),
    ],
    ids=["table", "archive", "CSV"],
)
def test_local_file_is_converted_by_the_code_table(data, invented, tmp_path, capsys) -> None:
    (tmp_path / "given").write_bytes(data)
    out = tmp_path / "new" / "rows.csv"
    assert main(["south-german", "--from", str(tmp_path / "given"), "--out", str(out)]) == 0
    assert "Wrote 4 rows" in capsys.readouterr().out
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == list(south_german.HEADER)
    assert rows == CONVERTED
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert read_records(out, LAYOUT).outcomes.tolist() == [1, 0, 1, 0]


def test_code_table_covers_the_schemas_values() -> None:
    for name, codes in (
        ("job", south_german.JOB),
        ("housing", south_german.HOUSING),
        ("purpose", south_german.PURPOSE),
        ("sex", {code: word for code, word in south_german.SEX.items() if word}),
    ):
        assert set(codes.values()) == set(LAYOUT.code(name).column.values)


def test_real_table_is_the_published_one(tmp_path) -> None:
    source = south_german_file()
    out = tmp_path / "rows.csv"
    assert main(["south-german", "--from", str(source), "--out", str(out)]) == 0
    found = read_records(out, LAYOUT)
    assert (len(found), int(found.outcomes.sum())) == (1000, 700)

    changed = tmp_path / "changed.csv"
    text = source.read_text()
    changed.write_text(text.replace(",1049,", ",1048,", 1))
    assert changed.read_text() != text
    with pytest.raises(TrainingDataInvalid, match="differ from the published ones"):
        south_german.require_published(south_german.table_of(changed.read_bytes()))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "header does not have the 21 columns"),
        (table(*ROWS).replace(b"alter", b"age_"), "header does not have the 21 columns"),
        (table(*ROWS[:3]), "it has 3 rows, not 1000"),
        (table(*ROWS, "1 2 3"), "row 5 does not have 21 whole numbers"),
        (table(ROWS[0].replace("1000", "-100")), "row 1 does not have 21 whole numbers"),
        ("é".encode(), "not a text file in ASCII"),
        (packed(table(*ROWS), "other.asc"), "the archive has no SouthGermanCredit.asc"),
        (packed(table(*ROWS))[:-30], "the archive is damaged"),
        (
            packed(b" " * (south_german.MOST_BYTES + 1)),
            "Credit.asc is larger than 1 MiB",
        ),
        (b" " * (south_german.MOST_BYTES + 1), "The file is larger than 1 MiB"),
    ],
    ids=range(10),
)
def test_other_files_are_refused_and_nothing_is_written(data, named, tmp_path, capsys) -> None:
    (tmp_path / "given").write_bytes(data)
    out = tmp_path / "rows.csv"
    assert main(["south-german", "--from", str(tmp_path / "given"), "--out", str(out)]) == 1
    assert named in capsys.readouterr().err
    assert not out.exists()


def test_unknown_code_is_refused() -> None:
    with pytest.raises(TrainingDataInvalid, match="row 1 has a code"):
        south_german.rows_of(south_german.table_of(table(ROWS[0].replace(" 21 3 1 ", " 21 3 9 "))))


def transport(status: int, body: bytes) -> httpx.MockTransport:
    def respond(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https" and request.url.host == "archive.ics.uci.edu"
        return httpx.Response(status, content=body)

    return httpx.MockTransport(respond)


def test_download_is_bounded_and_its_failures_are_typed() -> None:
    data = packed(table(*ROWS))
    assert downloaded(transport(200, data)) == data
    with pytest.raises(TrainingDataInvalid, match="returned more than 1 MiB"):
        downloaded(transport(200, b"x" * (south_german.MOST_BYTES + 1)))
    for status in (302, 404, 500):
        with pytest.raises(ServerUnreachable, match=rf"HTTP {status}.*--from"):
            downloaded(transport(status, data))

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ServerUnreachable, match=r"cannot be reached \(ConnectError\).*--from"):
        downloaded(httpx.MockTransport(fail))


def test_synthetic_loans_of_a_region_are_written(tmp_path, capsys) -> None:
    def written(*options: str) -> Path:
        out = tmp_path / f"{'_'.join(options)}.csv"
        assert main(["synthetic-german", "--rows", "300", *options, "--out", str(out)]) == 0
        return out

    first, second = written("--region", "1"), written("--region", "2")
    assert len(read_records(first, LAYOUT)) == 300
    assert first.read_bytes() != second.read_bytes()
    assert main(["synthetic-german", "--region", "-1", "--out", str(tmp_path / "no.csv")]) == 1
    assert "region must be 0 or more" in capsys.readouterr().err
