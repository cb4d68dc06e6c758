"""An upload on its way to the disk: bounded, paced, hashed and written while it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from engines.envelope import DIGEST_BYTES
from service.forms import FIELDS, FILE, FormReader
from service.limits import SMALL_BODY, Pace
from service.slots import Place, Upload
from utils.atomic_files import PRIVATE_FILE
from utils.errors import InvalidRequest, StorageUnavailable, UploadEmpty, UploadTooLarge
from utils.writeback import begin_writeback

BATCH_BYTES = 1 << 20
"""What is held in memory before it is hashed and written, in a thread."""
SMALL_BATCH = 64 * 1024
UNADMITTED_BYTES = SMALL_BODY
"""What is read of a file before it is known whose it is; it stays in memory."""

Admit = Callable[[Mapping[str, str]], Awaitable[Place]]
"""Answers the place that the form's fields name, or raises why it may not be filled."""


@dataclass(frozen=True)
class SentForm:
    """A form read to its end: whose it is, where it belongs, and the file that came."""

    client_id: str
    place: Place
    upload: Upload
    intact: bool
    """Whether the file ends with the digest of what comes before, as a sealed message does."""


class _FileWriter:
    """A new file that takes bytes in batches and counts and hashes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._hash = hashlib.sha256()  # of all but the end
        self._end = b""
        self._batch: list[memoryview] = []
        self._held = 0  # bytes in the batch
        self._written = 0
        self._flushing: asyncio.Task[None] | None = None
        self.size = 0
        self.intact = False

    def open(self) -> None:
        """Make the file; nothing is on the disk before."""
        with _disk():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._handle = os.open(self._path, flags, PRIVATE_FILE)

    async def write(self, piece: memoryview) -> None:
        self._batch.append(piece)
        self._held += len(piece)
        self.size += len(piece)
        if self._held >= BATCH_BYTES:
            batch, self._batch, self._held = self._batch, [], 0
            await self._flushed()
            # The next batch arrives meanwhile; two are the most that memory holds.
            self._flushing = asyncio.create_task(run_in_threadpool(self._flush, batch))

    async def finish(self) -> Upload:
        await self._flushed()
        if self._held <= SMALL_BATCH:  # sooner done than handed over
            self._flush(self._batch)
        else:
            await run_in_threadpool(self._flush, self._batch)
        self.intact = hmac.compare_digest(self._hash.digest(), self._end)
        self._hash.update(self._end)
        return Upload(self._path, self.size, self._hash.hexdigest())

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

    def _flush(self, batch: list[memoryview]) -> None:
        # One copy of it, and one call of each kind: at every call this thread waits for its turn.
        known = b"".join([self._end, *batch])
        rest = memoryview(known)[len(self._end) :]
        size = len(rest)
        with _disk():
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        if size >= BATCH_BYTES:  # less is sooner written by the sync itself
            begin_writeback(self._handle, self._written, size)
        self._written += size
        cut = max(0, len(known) - DIGEST_BYTES)
        self._hash.update(memoryview(known)[:cut])
        self._end = known[cut:]


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # such as a full disk
        raise StorageUnavailable(
            f"The server cannot write the file ({error.strerror}); send it again later."
        ) from error


async def receive_upload(
    body: AsyncIterable[bytes], content_type: str, path: Path, admit: Admit, pace: Pace
) -> SentForm:
    """Read a form to its end, its file to `path`, which must not exist yet.

    `admit` is asked as soon as all fields are there, which must be within `pace.stall` seconds and
    before UNADMITTED_BYTES of the file. On any error no file is left. Raises InvalidRequest,
    UnsupportedContent, UploadEmpty, UploadTooLarge, UploadTooSlow, and whatever `admit` raises.
    """
    reader = FormReader(content_type)
    writer = _FileWriter(path)
    # Nobody knows yet who sends; until then the form gets no more time than a small body.
    hurried, patient = Pace(pace.stall, pace.stall).begin(), pace.begin()
    place: Place | None = None
    chunks = aiter(body)
    try:
        while True:
            patience = hurried if place is None else patient
            chunk = await patience.wait(anext(chunks, None))
            if chunk is None:
                break
            pieces = reader.feed(chunk)
            if place is None and reader.complete:
                place = await admit(reader.fields)
                writer.open()
            _require_room(place, writer.size + sum(map(len, pieces)))
            for piece in pieces:
                await writer.write(piece)
        reader.finish()
        if place is None or writer.size == 0:
            raise UploadEmpty("The file is empty; nothing was stored.")
        upload = await writer.finish()
        return SentForm(reader.fields["client_id"], place, upload, writer.intact)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        await writer.close()


def _require_room(place: Place | None, size: int) -> None:
    if place is None:
        if size > UNADMITTED_BYTES:
            raise InvalidRequest(f"Put {', '.join(FIELDS)} before {FILE} in the form.")
    elif size > place.slot.maximum_bytes:
        raise UploadTooLarge(
            f"{place.slot.party}'s {place.slot.file_name} may have at most "
            f"{place.slot.maximum_bytes} bytes; nothing was stored."
        )
