"""The form parser: its result does not depend on how a form is split into chunks."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.interface import Slot
from service.applications.slots import Place
from service.applications.uploads import BATCH_BYTES, UNADMITTED_BYTES, SentFile, receive_upload
from service.http.upload_form import FIELDS, FormReader
from utils.errors import ForbiddenSlot, InvalidRequest, UnsupportedContent, UploadTooLarge
from web.body_limits import Pace

KIND = "multipart/form-data; boundary=b"
SLOT = Slot(party="bank", file_name="encrypted_inputs", needed_for=("decide",), maximum_bytes=9)
ROOMY = SLOT.model_copy(update={"maximum_bytes": 10 * BATCH_BYTES})


def part(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        name.encode(),
        value,
    )


def body_of(file: bytes, file_first: bool = False) -> bytes:
    fields = b"".join(part(name, f"value of {name}".encode()) for name in FIELDS)
    parts = [part("files", file), fields] if file_first else [fields, part("files", file)]
    return b"".join(parts) + b"--b--\r\n"


@given(
    file=st.binary(max_size=200) | st.sampled_from([b"\r\n--b", b"\r\n--", b"\r\n--b-", b"--b--"]),
    cuts=st.lists(st.integers(0, 500), max_size=8),
    file_first=st.booleans(),
)
def test_parsed_form_is_independent_of_chunks(
    file: bytes, cuts: list[int], file_first: bool
) -> None:
    if b"\r\n--b" in file:
        file = b"\r\n--"  # a boundary inside the file would end it, by definition
    body = body_of(file, file_first)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    reader = FormReader(KIND)
    found = b"".join(
        piece for start, end in itertools.pairwise(edges) for piece in reader.feed(body[start:end])
    )
    reader.finish()
    assert found == file
    assert reader.fields == {name: f"value of {name}" for name in FIELDS}


def receive(path: Path, chunks: list[bytes], slot: Slot = ROOMY) -> tuple[SentFile, int]:
    read = 0
    admitted_after = -1

    async def stream() -> AsyncIterator[bytes]:
        nonlocal read
        for chunk in chunks:
            read += 1
            yield chunk

    async def admit(fields: Mapping[str, str]) -> Place:
        nonlocal admitted_after
        admitted_after = read
        if slot.party == "refused":
            raise ForbiddenSlot("no")
        return Place(slot, "store")

    sent = receive_upload(stream(), FormReader(KIND), path, admit, Pace(30.0, 30.0))
    return asyncio.run(sent), admitted_after


def test_received_file_is_hashed_and_private(tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_000
    body = body_of(content)
    chunks = [body[i : i + 60_000] for i in range(0, len(body), 60_000)]
    form, admitted_after = receive(tmp_path / "blob", chunks)
    assert admitted_after == 1, "asked before the file has been read"
    assert (tmp_path / "blob").read_bytes() == content
    assert form.upload.sha256 == hashlib.sha256(content).hexdigest()
    assert form.upload.size == len(content)
    assert (tmp_path / "blob").stat().st_mode & 0o777 == 0o600


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file_first=st.booleans(), size=st.integers(10, 300), step=st.integers(1, 400))
def test_oversized_form_leaves_no_file(
    tmp_path: Path, file_first: bool, size: int, step: int
) -> None:
    body = body_of(bytes(size), file_first)
    chunks = [body[i : i + step] for i in range(0, len(body), step)]
    with pytest.raises(UploadTooLarge, match="at most 9 bytes"):
        receive(tmp_path / "blob", chunks, SLOT)
    assert not (tmp_path / "blob").exists()


def test_refused_and_incomplete_forms_leave_no_file(tmp_path: Path) -> None:
    refused = SLOT.model_copy(update={"party": "refused"})
    with pytest.raises(ForbiddenSlot):
        receive(tmp_path / "blob", [body_of(b"x")], refused)
    with pytest.raises(InvalidRequest, match="cut off"):
        receive(tmp_path / "blob", [body_of(b"x" * 100)[:-20]])
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_valid_token_is_rejected(tmp_path: Path) -> None:
    def chunks(size: int) -> list[bytes]:
        body = body_of(bytes(size), file_first=True)
        return [body[i : i + 1000] for i in range(0, len(body), 1000)]

    form, _ = receive(tmp_path / "small", chunks(UNADMITTED_BYTES))
    assert form.upload.size == UNADMITTED_BYTES
    with pytest.raises(InvalidRequest, match="before files"):
        receive(tmp_path / "large", chunks(UNADMITTED_BYTES + 1000))
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_no_file_is_created_before_authorisation(tmp_path: Path) -> None:
    fields = body_of(b"x", file_first=True)
    seen: list[bool] = []

    async def stream() -> AsyncIterator[bytes]:
        yield fields[:-30]
        seen.append((tmp_path / "blob").exists())
        yield fields[-30:]

    async def admit(_: Mapping[str, str]) -> Place:
        return Place(SLOT, "store")

    asyncio.run(
        receive_upload(stream(), FormReader(KIND), tmp_path / "blob", admit, Pace(30.0, 30.0))
    )
    assert seen == [False]
    assert (tmp_path / "blob").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/mixed; boundary=b"])
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedContent):
        FormReader(kind)
