"""An upload on its way to the disk: bounded, hashed and written while it arrives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from engines.interface import Slot
from service.applications import Upload
from service.forms import FormReader
from utils.atomic_files import PRIVATE_FILE
from utils.errors import UploadEmpty, UploadTooLarge

BATCH_BYTES = 1 << 20
"""What is held in memory before it is hashed and written, in a thread."""

Admit = Callable[[Mapping[str, str]], Awaitable[Slot]]
"""Answers the slot that the form's fields name, or raises why it may not be filled."""


@dataclass(frozen=True)
class SentForm:
    """A form read to its end: whose it is, which slot it may fill, and the blob that came."""

    client_id: str
    slot: Slot
    upload: Upload


class _BlobWriter:
    """A new file that takes bytes in batches and counts and hashes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        self._hash = hashlib.sha256()
        self._batch = bytearray()
        self.size = 0

    async def write(self, piece: bytes) -> None:
        self._batch += piece
        self.size += len(piece)
        if len(self._batch) >= BATCH_BYTES:
            batch, self._batch = self._batch, bytearray()
            await run_in_threadpool(self._flush, batch)

    async def finish(self) -> Upload:
        await run_in_threadpool(self._finish)
        return Upload(self._path.name, self.size, self._hash.hexdigest())

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _flush(self, batch: bytearray) -> None:
        self._hash.update(batch)
        rest = memoryview(batch)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def _finish(self) -> None:
        self._flush(self._batch)
        os.fsync(self._handle)


async def receive_upload(
    body: AsyncIterable[bytes], content_type: str, path: Path, admit: Admit
) -> SentForm:
    """Read a form to its end, its file to `path`, which must not exist yet.

    `admit` is asked as soon as all fields are there. On any error no file is left. Raises
    InvalidRequest, UploadEmpty, UploadTooLarge, and whatever `admit` raises.
    """
    reader = FormReader(content_type)
    writer = _BlobWriter(path)
    slot: Slot | None = None
    try:
        async for chunk in body:
            pieces = reader.feed(chunk)
            if slot is None and reader.complete:
                slot = await admit(reader.fields)
            for piece in pieces:
                await writer.write(piece)
            if slot is not None:
                _require_room(slot, writer.size)
        reader.finish()
        if slot is None:  # the last chunk completes the fields, or finish() has raised
            slot = await admit(reader.fields)
        _require_room(slot, writer.size)
        if writer.size == 0:
            raise UploadEmpty("The file is empty; nothing was stored.")
        return SentForm(reader.fields["client_id"], slot, await writer.finish())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        writer.close()


def _require_room(slot: Slot, size: int) -> None:
    if size > slot.maximum_bytes:
        raise UploadTooLarge(
            f"{slot.party}'s {slot.file_name} may have at most {slot.maximum_bytes} bytes; "
            "nothing was stored."
        )
