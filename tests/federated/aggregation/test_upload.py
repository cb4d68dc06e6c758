"""The binary form of an upload: of a known size, read back exactly, and refused if damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.aggregation.statement import Step
from federated.aggregation.upload import LARGEST_UPLOAD, Upload
from tests.federated.aggregation.lenders import TRANSCRIPT, Lenders, vectors
from tests.strategies import QUICK
from utils.errors import MalformedMessage


@pytest.fixture(scope="module")
def encoded():
    lenders = Lenders(3)
    first = lenders.names[0]
    values = vectors(lenders.names)[first]
    return lenders.masks[first].upload(Step(-1), lenders.names, TRANSCRIPT, values).to_bytes()


@pytest.mark.parametrize(("count", "size"), [(5, 8_458), (20, 9_658)])
def test_an_upload_of_a_thousand_numbers_has_this_size(count, size):
    lenders = Lenders(count)
    first = lenders.names[0]
    values = vectors(lenders.names, length=1000)[first]
    found = lenders.masks[first].upload(Step(299, 0, 9), lenders.names, TRANSCRIPT, values)
    assert len(found.to_bytes()) == size
    assert Upload.from_bytes(found.to_bytes()) == found


@QUICK
@given(st.data())
def test_damaged_bytes_are_refused_or_read_as_they_are(encoded, data):
    start = data.draw(st.integers(0, len(encoded)))
    end = data.draw(st.integers(start, len(encoded)))
    damaged = encoded[:start] + data.draw(st.binary(max_size=20)) + encoded[end:]
    try:
        found = Upload.from_bytes(damaged)
    except MalformedMessage:
        return
    assert found.to_bytes() == damaged


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"TSU2" + data[4:],
        lambda data: data[:4] + b"\xfe\xff" + data[6:],
        lambda data: data[:4] + b"\xff\x7f" + data[6:],
        lambda data: data[:6] + b"\x10" + data[7:],
        lambda data: data[:137] + b"\xff" + data[138:],
        lambda data: data[: 138 + 160],
        lambda data: data + bytes(LARGEST_UPLOAD),
    ],
    ids=[
        *("empty", "cut", "odd", "version", "tree -2", "tree 32767", "level 16"),
        *("count of shares", "no vector", "too large"),
    ],
)
def test_a_bad_upload_is_refused(encoded, change):
    assert Upload.from_bytes(encoded).step == Step(-1)
    with pytest.raises(MalformedMessage):
        Upload.from_bytes(change(encoded))
