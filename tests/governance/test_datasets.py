"""CSV and JSON become typed rows or are refused; errors, descriptions and mocks have no values."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import datasets
from governance.access import Access, Partner
from governance.computations import computation_of, fields_of
from governance.datasets import DataSet, make_data_set, read_data_set
from governance.masking import mask
from governance.mock import BOUNDS, OTHER_BOUNDS, mock
from governance.policy import Policies
from utils.errors import DataSetInvalid

CSV = """name,income,balance,member,joined,region,phone
Ada,41000,10.5,yes,2020-02-29,North,0301234
Bo,39000,-1e3,no,2021-01-01,South,+49 30 1
Cy,,0.25,yes,,North,0175
Di,12000,3,no,2022-12-31,South,
Ed,30000,1.5,no,2023-01-01,North,0171
"""
TYPES = ["text", "integer", "number", "boolean", "date", "category", "text"]


def read(data: str | bytes, **options) -> DataSet:
    return read_data_set(data.encode() if isinstance(data, str) else data, "tag", "w", **options)


def test_types_of_a_csv_file_are_inferred() -> None:
    found = read(CSV)
    assert [column.type for column in found.description.columns] == TYPES
    assert found.rows[0] == {
        "name": "Ada", "income": 41000, "balance": 10.5, "member": True, "joined": "2020-02-29",
        "region": "North", "phone": "0301234",
    }  # fmt: skip
    assert found.rows[2]["income"] is None and found.rows[2]["joined"] is None
    missing = {column.name for column in found.description.columns if column.missing}
    assert missing == {"income", "joined", "phone"}
    assert found.description.rows == 5
    few = read("\n".join(CSV.splitlines()[:2]))  # of one row, each of them would be its value
    assert all(column.missing for column in few.description.columns)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_of_csv_gives_the_same_rows(separator, encoding, end) -> None:
    decimal = "," if separator == ";" else "."
    lines = [
        [field.replace(".", decimal) for field in line.split(",")] for line in CSV.splitlines()
    ]
    text = end.join(separator.join(line) for line in lines) + end
    assert read(text.encode(encoding)) == read(CSV)


def test_types_of_json_are_its_own() -> None:
    rows = [
        {"a": 1, "b": 1.5, "c": True, "d": "2020-01-01", "e": "12"},
        {"a": None, "b": 2, "f": 3},
    ]
    found = read(json.dumps(rows))
    assert [c.type for c in found.description.columns] == [
        "integer", "number", "boolean", "date", "text", "integer",
    ]  # fmt: skip
    assert found.rows[1] == {"a": None, "b": 2.0, "c": None, "d": None, "e": None, "f": 3}
    assert read('{"a": 1}').rows == ({"a": 1},)
    assert read('\ufeff {"a": 1}').rows == ({"a": 1},)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "empty"),
        ("a,b\n1\n", "line 2 has 1 fields"),
        ("a,b\n1,2,3\n", "thousands separators"),
        ("a,a\n1,2\n", "called a"),
        ("a,\n1,2\n", "no name"),
        ("a, b\n1,2\n", "spaces"),
        ("*a,b\n1,2\n", "cannot be described: columns 0 name"),
        ("a" * 65 + ",b\n1,2\n", "cannot be described"),
        (b"a,b\n\xff,2\n", "line 2 is not in UTF-8"),
        ('a,b\n"4711,2\n', "unbalanced"),
        ("a,b\n4711\0,2\n", "NUL"),
        ("a,b\n" + "4711" * 5000 + ",1", "20000 characters in a of row 1"),
        ("[1]", "row 1 is not a JSON object"),
        ('[{"a": 1}, {"a": [4711]}]', "a of row 2 is a list"),
        ('[{"a": 1}, {"a": "4711"}]', "no text in a of row 1"),
        ('[{"a": "4711"}, {"a": 4711}]', "no text in a of row 2"),
        ('[{"a": 4711000000000000000000}]', "no text in a of row 1"),
        (r'[{"a": "\ud8004711"}]', "no text in a of row 1"),
        (r'[{"a\ud800": "4711"}]', "cannot be described"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 4711, "a": 2}', "occurs twice"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "0 columns"),
        ("[{}]", "0 columns"),
        (json.dumps({f"c{i}": 4711 for i in range(257)}), "257 columns"),
        (",".join(f"c{i}" for i in range(257)), "257 columns"),
    ],
)  # fmt: skip
def test_unusable_data_is_refused_without_a_value(data, words) -> None:
    with pytest.raises(DataSetInvalid) as caught:
        read(data)
    assert words in caught.value.message and "4711" not in caught.value.message


def test_sizes_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(datasets, "MOST_ROWS", 3)
    assert len(read("a\n1\n2\n3\n").rows) == 3
    for data in ("a\n1\n2\n3\n4\n", '[{"a":1},{"a":1},{"a":1},{"a":1}]'):
        with pytest.raises(DataSetInvalid, match="more than 3 rows"):
            read(data)
    monkeypatch.setattr(datasets, "MOST_BYTES", 5)
    with pytest.raises(DataSetInvalid, match="6 bytes"):
        read("a\n1234")


def test_types_can_be_given() -> None:
    assert read("a\n12\n13\n", types={"a": "text"}).rows[0] == {"a": "12"}
    assert read("a\n12\n13\n", types={"a": "number"}).rows[0] == {"a": 12.0}
    assert read("a\nx\n\ny\n", types={"a": "category"}).description.columns[0].type == "category"
    for kind in ("integer", "number", "boolean", "date"):
        with pytest.raises(DataSetInvalid, match=f"no {kind} in a of row 2") as caught:
            read({"boolean": "a\nyes\n4711\n", "date": "a\n2020-02-29\n2021-02-29\n"}.get(
                kind, "a\n1\n4711x\n"), types={"a": kind})  # fmt: skip
        assert "4711" not in caught.value.message
    with pytest.raises(DataSetInvalid, match="no column 'b'"):
        read("a\n12\n", types={"b": "text"})
    with pytest.raises(DataSetInvalid, match="must be one of"):
        read("a\n12\n", types={"a": "float"})
    many = "a\n" + "\n".join(f"v{i}" for i in range(51))
    with pytest.raises(DataSetInvalid, match="more than 50"):
        read(many, types={"a": "category"})


@pytest.mark.parametrize(
    "text", ["01", "+1", "1234567890123456", "1.", ".5", "1,5", "0x1", "nan", "inf", "1e99", "١"]
)
def test_what_is_not_plainly_a_number_is_text(text) -> None:
    column = read(f'a,b\n"{text}",1\n').description.columns[0]
    assert column.type == "text"


def test_categories_and_public_values_are_the_owners() -> None:
    found = read(CSV, categories={"income": "income"}, public=["region"])
    assert found.description.categories["income"] == "income"
    assert found.description.categories["name"] == "unclassified"
    assert found.description.column("region").public_values == ("North", "South")
    with pytest.raises(DataSetInvalid, match="only names of a category column"):
        read(CSV, public=["name"])
    with pytest.raises(DataSetInvalid, match="no column"):
        read(CSV, public=["absent"])
    with pytest.raises(DataSetInvalid, match="categories are"):
        read(CSV, categories={"income": "money"})
    with pytest.raises(DataSetInvalid, match="schema_name"):
        read(CSV, schema_name="../x")
    with pytest.raises(DataSetInvalid, match="tag"):
        read_data_set(CSV.encode(), "Tag!", "w")


def test_policy_judges_a_data_set_by_its_description() -> None:
    """The way of a use: description and computation, policy, masks or least count of rows."""
    found = read(CSV, schema_name="personal_record", categories={"balance": "account_balance"})
    use = {
        "partner": Partner(id="b", type="bank", verified=True),
        "data_set": "0" * 32,
        "schema_name": found.description.schema_name,
        "categories": found.description.categories,
        "purpose": "dpv:CreditChecking",
        "consent": "given",
        "time": 0,
        "rows": found.description.rows - 1,
    }
    verdict = Policies.load().decide(Access(action="release", fields=("income", "name"), **use))
    released = mask(
        {name: found.rows[0][name] for name in ("income", "name")},
        verdict.obligations.masks,
        bytes(32),
        "b",
    )
    assert released["income"] == "40,000–59,999" and "Ada" not in str(released)
    asked = computation_of({"kind": "mean", "column": "income"})
    verdict = Policies.load().decide(Access(action="statistic", fields=fields_of(asked), **use))
    assert verdict.would_allow.least_rows == 5


def test_data_set_does_not_print_its_rows() -> None:
    assert "Ada" not in repr(read(CSV)) + str(read(CSV))


WORD = st.text(string.ascii_letters, min_size=6, max_size=12).map("ß{}".format)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "who": WORD,
            "sum": st.integers(10**9, 10**14),
            "part": st.sampled_from(["ßalpha", "ßbeta"]),
            "rate": st.none() | st.floats(10**9, 10**14),
        }
    ),
    min_size=5,
    max_size=12,
)
KINDS = {"who": "text", "sum": "integer", "part": "category", "rate": "number"}


@given(ROWS, st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_description_and_mock_contain_no_value(rows, seed) -> None:
    found = make_data_set("t", "w", KINDS, rows)
    shown = found.description.model_dump_json() + str(
        mock(found.description, 40, random.Random(seed)).rows
    )
    for row in rows:
        for value in row.values():
            assert value is None or str(value) not in shown


@given(ROWS, ROWS, st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_mock_is_the_same_whatever_the_values(one, other, seed) -> None:
    for row in (*one, *other):
        row["rate"] = row["rate"] or 1.0  # whether any value is missing is described
    mocks = [
        mock(make_data_set("t", "w", KINDS, rows).description, 20, random.Random(seed))
        for rows in (one, other)
    ]
    assert mocks[0] == mocks[1]


def test_mock_has_the_same_columns_and_types_in_public_bounds() -> None:
    found = read(CSV, categories={"income": "income"}, public=["region"])
    made = mock(found.description, 300)
    assert made.description.schema_name == found.description.schema_name
    assert [c.name for c in made.description.columns] == [c.name for c in found.description.columns]
    assert [c.type for c in made.description.columns] == TYPES
    for row in made.rows:
        assert row["income"] is None or BOUNDS["income"][0] <= row["income"] <= BOUNDS["income"][1]
        assert OTHER_BOUNDS[0] <= row["balance"] <= OTHER_BOUNDS[1]
        assert row["region"] in ("North", "South")
        assert not row["name"].startswith(("Ada", "Bo", "Cy", "Di"))
    assert any(row["income"] is None for row in made.rows)
    # A mock reads back as the types that it has.
    assert read(json.dumps(made.rows)).description.columns[1].type == "integer"


def test_invented_dates_of_birth_are_those_of_adults() -> None:
    description = read("born\n1990-04-01\n", categories={"born": "birth_date"}).description
    # Some are missing, because the description of one row does not say that none are.
    born = [str(row["born"]) for row in mock(description, 300).rows if row["born"] is not None]
    assert len(born) > 100 and min(born) >= "1940-01-01" and max(born) <= "2005-12-31"


def test_mocks_are_seeded_by_the_operating_system_and_bounded() -> None:
    description = read(CSV).description
    assert mock(description) != mock(description)
    assert len(mock(description, 10**9).rows) == 1000 and len(mock(description, 0).rows) == 1
