"""An upload on its way to the disk: bounded, hashed and written while it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from engines.envelope import DIGEST_BYTES
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
    intact: bool
    """Whether the file ends with the digest of what comes before, as a sealed message does."""


class _BlobWriter:
    """A new file that takes bytes in batches and counts and hashes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        self._hash = hashlib.sha256()  # of all but the end
        self._end = b""
        self._batch = bytearray()
        self._flushing: asyncio.Task[None] | None = None
        self.size = 0
        self.intact = False

    async def write(self, piece: bytes) -> None:
        self._batch += piece
        self.size += len(piece)
        if len(self._batch) >= BATCH_BYTES:
            batch, self._batch = self._batch, bytearray()
            await self._flushed()
            # The next batch arrives meanwhile; two are the most that memory holds.
            self._flushing = asyncio.create_task(run_in_threadpool(self._flush, batch))

    async def finish(self) -> Upload:
        await self._flushed()
        await run_in_threadpool(self._flush, self._batch)
        self.intact = hmac.compare_digest(self._hash.digest(), self._end)
        self._hash.update(self._end)
        return Upload(self._path.name, self.size, self._hash.hexdigest())

    async def close(self) -> None:
        try:
            with suppress(Exception):  # it has been raised, or another error is under way
                await self._flushed()
        finally:
            self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def _flushed(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await flushing

    def _flush(self, batch: bytearray) -> None:
        known = self._end + batch
        cut = max(0, len(known) - DIGEST_BYTES)
        self._hash.update(memoryview(known)[:cut])
        self._end = known[cut:]
        rest = memoryview(batch)
        while rest:
            rest = rest[os.write(self._handle, rest) :]


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
        upload = await writer.finish()
        return SentForm(reader.fields["client_id"], slot, upload, writer.intact)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        await writer.close()


def _require_room(slot: Slot, size: int) -> None:
    if size > slot.maximum_bytes:
        raise UploadTooLarge(
            f"{slot.party}'s {slot.file_name} may have at most {slot.maximum_bytes} bytes; "
            "nothing was stored."
        )


def sync_blob(path: Path) -> None:
    """See to it that a blob is on the disk before a row names it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
