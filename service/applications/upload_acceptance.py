"""Acceptance of a completely received upload: checked, made durable, put into its slot.

The check runs in another process while the file is synced to disk. Until the slot is filled, no row
refers to the stored blob, and any failure removes it again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from contract.http import Stage
from service.applications.slots import Slots
from service.applications.uploads import SentFile
from service.execution.checker import Checker


async def settle(sent: SentFile, checker: Checker, slots: Slots) -> Stage:
    """Fill the slot that a file was sent for; return the application's new stage.

    The file is removed in any case, and on an error its content is not kept. Raises
    MalformedMessage, ForeignMessage, and the errors of Slots.fill.
    """
    upload, place = sent.upload, sent.place
    checked = upload.path.with_name(f"{upload.path.name}-checked")
    try:
        try:
            # A second link for the check, since `keep` moves the file away.
            checked.hardlink_to(upload.path)
        except OSError:  # the file system has no hard links: check first, then keep
            await checker.check(place.slot, upload.path, sent.intact)
            await run_in_threadpool(slots.keep, place, upload)
        else:
            await _check_and_keep(sent, checked, checker, slots)
        return await run_in_threadpool(slots.fill, sent.client_id, place, upload)
    finally:
        checked.unlink(missing_ok=True)
        upload.path.unlink(missing_ok=True)


async def _check_and_keep(sent: SentFile, checked: Path, checker: Checker, slots: Slots) -> None:
    keeping = asyncio.create_task(run_in_threadpool(slots.keep, sent.place, sent.upload))
    try:
        await checker.check(sent.place.slot, checked, sent.intact)
    except BaseException:
        with suppress(Exception):
            await keeping
            await run_in_threadpool(slots.drop, sent.client_id, sent.place, sent.upload)
        raise
    await keeping
