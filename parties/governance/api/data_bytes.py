"""The data of a request body as the bytes of a file, which governance/datasets.py reads."""

from __future__ import annotations

import json

from pydantic import JsonValue

from utils.errors import DataSetInvalid

COLUMN = "value"
"""The column of a list of plain values."""


def bytes_of(data: JsonValue) -> bytes:
    """Return data as the bytes of a CSV or JSON file; raises DataSetInvalid.

    A text is a whole file. An object is one record, a list of objects is records, and a list of
    values is one column `value`.
    """
    if isinstance(data, str):
        return data.encode("utf-8", "replace")
    if isinstance(data, list) and not any(isinstance(each, dict | list) for each in data):
        return json.dumps([{COLUMN: each} for each in data]).encode()
    if isinstance(data, dict | list):
        return json.dumps(data).encode()
    raise DataSetInvalid(
        "Give the data as the text of a CSV or JSON file, a record, a list of records, or a list "
        "of values."
    )
