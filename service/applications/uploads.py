"""Receiving an upload: limited in size and time, hashed and written to disk as it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engines.envelope import DIGEST_BYTES
from engines.interface import Slot
from service.applications.slots import Place, Upload
from service.http.upload_form import FIELDS, FILE
from utils.atomic_files import PRIVATE_FILE
from utils.disk_errors import storage_fault
from utils.errors import InvalidRequest, UploadEmpty, UploadTooLarge
from web.body_limits import SMALL_BODY, Pace

BATCH_BYTES = 1 << 20
"""Bytes held in memory before they are hashed and written in threads."""
SMALL_BATCH = 64 * 1024
UNADMITTED_BYTES = SMALL_BODY
"""Bytes of a file that may be read, into memory, before its sender is authorised."""

Admit = Callable[[Mapping[str, str]], Awaitable[Place]]
"""Returns the place that the fields name; raises an error if it may not be filled."""


class BodyReader(Protocol):
    """Separates a request body into the fields that name a slot and the file for it."""

    fields: dict[str, str]

    @property
    def complete(self) -> bool:
        """True if all fields are known."""

    def feed(self, chunk: bytes) -> list[memoryview]:
        """Read a chunk of the body; return the file's bytes in it."""

    def finish(self) -> None:
        """Check, at the end of the body, that it is complete; raises InvalidRequest."""


@dataclass(frozen=True)
class SentFile:
    """A file that was received completely: its application, its place and its content."""

    client_id: str
    place: Place
    upload: Upload
    intact: bool
    """True if the file ends with the digest of the preceding bytes, as a sealed message does."""


class _FileWriter:
    """Writes a new file in batches, in threads, and counts and hashes its bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._hash = hashlib.sha256()  # of everything but the trailing digest
        self._end = b""
        self._batch: list[memoryview] = []
        self._held = 0  # bytes in the batch
        self._storing: asyncio.Task[None] | None = None  # of the batch before
        self.size = 0
        self.intact = False

    def open(self) -> None:
        """Create the file; nothing is on disk before this call."""
        with _disk():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._handle = os.open(self._path, flags, PRIVATE_FILE)

    async def write(self, piece: memoryview) -> None:
        self._batch.append(piece)
        self._held += len(piece)
        self.size += len(piece)
        if self._held >= BATCH_BYTES:
            await self._flush()

    async def finish(self) -> Upload:
        if self._held > SMALL_BATCH:
            await self._flush()
        await self._stored()
        self._store(self._take())  # small enough to handle here; a thread would take longer
        self.intact = hmac.compare_digest(self._hash.digest(), self._end)
        self._hash.update(self._end)
        return Upload(self._path, self.size, self._hash.hexdigest())

    async def close(self) -> None:
        if self._storing is None:
            self._close()
            return
        # After an error: the file is closed once the thread has written, even if this task is
        # cancelled meanwhile.
        self._storing.add_done_callback(self._close)
        await asyncio.wait({self._storing})

    def _close(self, storing: asyncio.Task[None] | None = None) -> None:
        if storing is not None and not storing.cancelled():
            storing.exception()  # the first error has been raised already
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def _flush(self) -> None:
        """Start to store the batch; the next one may arrive meanwhile."""
        await self._stored()
        batch = self._take()
        self._storing = asyncio.create_task(asyncio.to_thread(self._store, batch))

    async def _stored(self) -> None:
        if self._storing is not None:
            await asyncio.shield(self._storing)
            self._storing = None

    def _take(self) -> bytes:
        batch, self._batch, self._held = b"".join(self._batch), [], 0
        return batch

    def _store(self, batch: bytes) -> None:
        rest = memoryview(batch)
        with _disk():
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        # The last bytes may be the trailing digest, so they wait.
        if len(batch) < DIGEST_BYTES:
            batch = self._end + batch
        else:
            self._hash.update(self._end)
        cut = max(0, len(batch) - DIGEST_BYTES)
        self._hash.update(memoryview(batch)[:cut])
        self._end = batch[cut:]


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_fault("The server cannot write the file", error) from error


async def receive_upload(
    body: AsyncIterable[bytes],
    reader: BodyReader,
    path: Path,
    admit: Admit,
    pace: Pace,
) -> SentFile:
    """Read a body completely, writing its file to `path`, which must not exist yet.

    `admit` is called as soon as all fields are known, which must be within `pace.stall` seconds
    and before UNADMITTED_BYTES of the file. On any error the file is removed. Raises
    InvalidRequest, UploadEmpty, UploadTooLarge, UploadTooSlow, and any error that `admit` raises.
    """
    writer = _FileWriter(path)
    # Until the sender is authorised, the body gets no more time than a small one.
    hurried, patient = Pace(pace.stall, pace.stall).begin(), pace.begin()
    place: Place | None = None
    chunks = aiter(body)
    try:
        pieces: list[memoryview] = []
        while True:
            if place is None and reader.complete:
                place = await admit(reader.fields)
                writer.open()
            _require_room(place, writer.size + sum(map(len, pieces)))
            for piece in pieces:
                await writer.write(piece)
            patience = hurried if place is None else patient
            chunk = await patience.wait(anext(chunks, None))
            if chunk is None:
                break
            pieces = reader.feed(chunk)
        reader.finish()
        if place is None or writer.size == 0:
            raise UploadEmpty("The file is empty; nothing was stored.")
        upload = await writer.finish()
        return SentFile(reader.fields["client_id"], place, upload, writer.intact)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        await writer.close()


def _require_room(place: Place | None, size: int) -> None:
    if place is None:
        if size > UNADMITTED_BYTES:
            raise InvalidRequest(f"Put {', '.join(FIELDS)} before {FILE} in the form.")
    else:
        require_size(place.slot, size)


def require_size(slot: Slot, size: int) -> None:
    """Raise UploadTooLarge if the slot takes no file of `size` bytes."""
    if size > slot.maximum_bytes:
        raise UploadTooLarge(
            f"{slot.party}'s {slot.file_name} may have at most {slot.maximum_bytes} bytes; "
            "nothing was stored."
        )
