"""Payloads of several parts, and archives of client files."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import zip_files
from engines.payload import PART_OVERHEAD, join_parts, read_parts, split_parts
from engines.zip_files import EMPTY_ZIP, pack, unpack
from tests.strategies import QUICK
from utils.errors import MalformedMessage

PARTS = st.lists(st.binary(max_size=40), max_size=5)
FILES = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}\.bin", fullmatch=True), st.binary(max_size=300), max_size=8
)


@QUICK
@given(PARTS)
def test_parts_round_trip_with_known_or_unknown_sizes(parts):
    payload = memoryview(join_parts(parts))
    assert len(payload) == sum(len(part) + PART_OVERHEAD for part in parts)
    assert split_parts(payload, [len(part) for part in parts]) == parts
    assert read_parts(payload, len(parts)) == parts


@QUICK
@given(PARTS, st.integers(0, 4), st.integers(-3, 3).filter(bool))
def test_parts_of_wrong_sizes_are_refused(parts, position, difference):
    payload = memoryview(join_parts(parts))
    sizes = [len(part) for part in parts]
    if position < len(sizes) and sizes[position] + difference >= 0:
        sizes[position] += difference
    else:
        sizes.append(3)
    with pytest.raises(MalformedMessage):
        split_parts(payload, sizes)


def test_parts_whose_sizes_are_swapped_are_refused():
    payload = memoryview(join_parts([b"one", b"three"]))
    with pytest.raises(MalformedMessage, match="wrong sizes"):
        split_parts(payload, [5, 3])
    assert split_parts(payload, [3, 5]) == [b"one", b"three"]


@QUICK
@given(PARTS.filter(bool), st.data())
def test_a_cut_or_extended_payload_is_refused(parts, data):
    whole = join_parts(parts)
    cut = data.draw(st.integers(0, len(whole) - 1))
    sizes = [len(part) for part in parts]
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(MalformedMessage):
            split_parts(memoryview(damaged), sizes)
        with pytest.raises(MalformedMessage):
            read_parts(memoryview(damaged), len(parts))


@QUICK
@given(st.binary(max_size=60), st.integers(0, 4))
def test_random_bytes_are_refused_or_split_into_parts_that_join_to_them(content, count):
    try:
        parts = read_parts(memoryview(content), count)
    except MalformedMessage as error:
        assert error.message
    else:
        assert join_parts(parts) == content


def test_wrong_number_of_parts_is_refused():
    payload = memoryview(join_parts([b"a", b"b"]))
    with pytest.raises(MalformedMessage, match="longer than its parts"):
        read_parts(payload, 1)
    with pytest.raises(MalformedMessage, match="ends too early"):
        read_parts(payload, 3)


def test_excessive_part_length_allocates_nothing():
    with pytest.raises(MalformedMessage, match="ends too early"):
        read_parts(memoryview(b"\xff\xff\xff\xff" + b"x"), 1)


@QUICK
@given(FILES)
def test_archive_round_trips_and_is_deterministic(files):
    archive = pack(files)
    assert unpack(archive) == files
    assert pack(dict(reversed(files.items()))) == archive
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in opened.infolist())


@QUICK
@given(FILES.filter(bool), st.data())
def test_a_damaged_archive_is_refused_or_holds_the_same_contents(files, data):
    archive = bytearray(pack(files))
    for _ in range(data.draw(st.integers(1, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(archive))
    except MalformedMessage:
        return
    contents = list(files.values())
    assert all(content in contents for content in found.values())


@QUICK
@given(st.binary(max_size=100))
def test_invalid_archive_is_refused(content):
    with pytest.raises(MalformedMessage, match="client files are damaged"):
        unpack(content)


def test_oversized_archive_is_refused_before_unpacking(monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1 << 20))
    assert len(buffer.getvalue()) < 10_000
    monkeypatch.setattr(zip_files, "MAXIMUM_UNPACKED", (1 << 20) - 1)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(MalformedMessage, match="too large"):
        unpack(buffer.getvalue())


def test_an_archive_of_too_many_files_is_refused():
    most = {f"f{i}": b"" for i in range(zip_files.MAXIMUM_FILES)}
    assert unpack(pack(most)) == most
    with pytest.raises(MalformedMessage, match="too large"):
        unpack(pack(most | {"more": b""}))


def test_the_empty_archive_is_empty():
    assert unpack(EMPTY_ZIP) == {}
