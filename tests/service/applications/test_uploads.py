"""Uploads are written, hashed and compared with their digest, however their bytes arrive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from engines.envelope import Header, seal
from engines.interface import PROGRAMS, Slot
from service.applications.slots import Place
from service.applications.uploads import BATCH_BYTES, BodyReader, SentFile, receive_upload
from service.http.raw_body import MEDIA_TYPE, RawBodyReader
from service.http.upload_form import FormReader
from tests.service.driver import WAYS
from utils.errors import UploadTooLarge
from web.body_limits import Pace

SEALED = seal(Header(engine="e", model="m", kind="k"), bytes(range(256)) * (BATCH_BYTES // 64))
DAMAGED = SEALED[:-1] + bytes([SEALED[-1] ^ 1])
SLOT = Slot(party="p", file_name="f", needed_for=PROGRAMS, maximum_bytes=len(SEALED))


def received(path: Path, content: bytes, chunk: int, way: str = "POST") -> SentFile:
    fields = {"client_id": "c", "client_type": "p", "file_name": "f"}
    request = httpx.Request("POST", "http://server", data=fields, files={"files": content})
    body = request.read()
    reader: BodyReader = FormReader(request.headers["content-type"])
    if way == "PUT":
        body, reader = content, RawBodyReader(MEDIA_TYPE, fields)

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    async def admit(_: object) -> Place:
        return Place(SLOT, "store")

    return asyncio.run(receive_upload(stream(), reader, path, admit, Pace(30.0, 30.0)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunk", [60_001, BATCH_BYTES, 5 * BATCH_BYTES])
@pytest.mark.parametrize(
    ("content", "intact"),
    [(SEALED, True), (DAMAGED, False), (SEALED[:-1], False), (b"short", False)],
    ids=["sealed", "damaged", "cut", "short"],
)
def test_received_bytes_are_written_and_hashed(
    tmp_path: Path, content: bytes, intact: bool, chunk: int, way: str
) -> None:
    sent = received(tmp_path / "blob", content, chunk, way)
    assert sent.intact is intact
    assert sent.upload.size == len(content)
    assert sent.upload.sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "blob").read_bytes() == content


@pytest.mark.parametrize("way", WAYS)
def test_oversized_upload_leaves_no_file(tmp_path: Path, way: str) -> None:
    with pytest.raises(UploadTooLarge):
        received(tmp_path / "blob", SEALED + bytes(3 * BATCH_BYTES), BATCH_BYTES, way)
    assert not list(tmp_path.iterdir())
