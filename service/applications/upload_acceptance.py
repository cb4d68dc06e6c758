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
from service.applications.uploads import SentForm
from service.execution.checker import Checker


async def settle(form: SentForm, checker: Checker, slots: Slots) -> Stage:
    """Fill the slot that the form names; return the application's new stage.

    The file is removed in any case, and on an error its content is not kept. Raises
    MalformedMessage, ForeignMessage, and the errors of Slots.fill.
    """
    upload, place = form.upload, form.place
    checked = upload.path.with_name(f"{upload.path.name}-checked")
    try:
        try:
            # A second link for the check, since `keep` moves the file away.
            checked.hardlink_to(upload.path)
        except OSError:  # the file system has no hard links: check first, then keep
            await checker.check(place.slot, upload.path, form.intact)
            await run_in_threadpool(slots.keep, place, upload)
        else:
            await _check_and_keep(form, checked, checker, slots)
        return await run_in_threadpool(slots.fill, form.client_id, place, upload)
    finally:
        checked.unlink(missing_ok=True)
        upload.path.unlink(missing_ok=True)


async def _check_and_keep(form: SentForm, checked: Path, checker: Checker, slots: Slots) -> None:
    keeping = asyncio.create_task(run_in_threadpool(slots.keep, form.place, form.upload))
    try:
        await checker.check(form.place.slot, checked, form.intact)
    except BaseException:
        with suppress(Exception):
            await keeping
            await run_in_threadpool(slots.drop, form.client_id, form.place, form.upload)
        raise
    await keeping
