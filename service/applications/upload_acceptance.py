"""What becomes of an upload that has arrived whole: checked, made durable, put into its slot.

The check is another process's work and the sync the disk's, so neither waits for the other. Until
the slot is filled no row names what has been stored, and whatever fails removes it again.
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
    """Fill the slot that the form names; answers the application's new state.

    The file is gone afterwards, and where this raises nothing of it is kept. Raises
    MalformedMessage, ForeignMessage, and what Slots.fill raises.
    """
    upload, place = form.upload, form.place
    checked = upload.path.with_name(f"{upload.path.name}-checked")
    try:
        try:
            # A second name for the check, since keeping takes the first one away.
            checked.hardlink_to(upload.path)
        except OSError:  # this file system has no links: one after the other
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
