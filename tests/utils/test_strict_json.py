"""Strict parsing of JSON: ambiguous documents are refused."""

from contextlib import nullcontext

import pytest

from features.schema import Schema
from parties.command import parse, run
from settings import Settings
from utils.errors import InvalidRequest, SchemaInvalid
from utils.strict_json import parse_json

TWICE = b'{"a": 1, "b": {"c": 1, "c": 2}}'


@pytest.mark.parametrize(
    "data", [b'{"a": [1, {"b": null}]}', b'\xef\xbb\xbf{"a": [1, {"b": null}]}']
)
def test_json_is_read_with_and_without_a_byte_order_mark(data):
    assert parse_json(data) == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (TWICE, "'c' occurs twice in one object"),
        (b'{"a": 1, "\\u0061": 2}', "'a' occurs twice"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b"[-Infinity]", "-Infinity is not a JSON value"),
        (b'{"a": [1, 2,\n]}', "a comma follows the last entry before line 2"),
        (b'{"a": 1,', "Expecting"),
        (b'{"a": "\xe4"}', "utf-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "Expecting value"),
    ],
)
def test_ambiguous_and_invalid_documents_are_refused(data, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_json(data)


def test_schema_with_a_duplicate_name_is_refused(tmp_path):
    (tmp_path / "schema.json").write_bytes(TWICE)
    with pytest.raises(SchemaInvalid, match="'c' occurs twice"):
        Schema.load(tmp_path / "schema.json")


@pytest.mark.parametrize(
    ("data", "complaint"), [(b'{"x": 1, "x": 2}', "'x' occurs twice"), (b"[" * 100_000, "deeply")]
)
def test_record_with_a_duplicate_name_is_refused_before_sending(tmp_path, data, complaint):
    (tmp_path / "record.json").write_bytes(data)
    words = ["--party", "bank", "--no-page", "--record", str(tmp_path / "record.json")]
    with pytest.raises(InvalidRequest, match=complaint):
        run(parse(words), Settings(), nullcontext)
