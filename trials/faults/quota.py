"""The storage quota used up and freed again."""

from __future__ import annotations

from random import Random

from trials import stand_in
from trials.faults.application import Application, Broken
from trials.faults.calls import Answer, upload
from trials.faults.content import Key
from trials.faults.registry import fault
from trials.faults.world import World

FULL, LARGEST = "storage-full", 4_000_000


@fault("fill the disk quota", weight=25, orders=True)
def fill(world: World, random: Random) -> str:
    """Use up the quota: 429 until space is freed; nothing is lost, nothing more is stored."""
    fillers: list[Application] = []
    answer = Answer(200, "", b"")
    megabytes = float(world.setup.settings["storage_megabytes"])
    try:
        for _ in range(int(megabytes * 1e6 / LARGEST) + 2):
            filler = Application.open(world, world.contents.draw(random))
            fillers.append(filler)
            filler.join()
            answer = _send_large(world, filler, random)
            if not answer.good:
                break
        if (answer.status, answer.code) != (429, FULL):
            raise Broken("errors are typed", f"{answer} when the quota is used up")
        world.checked("no leak of files")
        kept = sum(len(world.blobs.read(blob) or b"") for blob in world.blobs.all())
        if kept > (megabytes + 1) * 1e6 + LARGEST:
            raise Broken(
                "no leak of files", f"{kept} bytes are stored, but {megabytes} MB are allowed"
            )
    finally:
        for filler in fillers:
            if filler.tokens:
                filler.erase()
    application = Application.filled(world, world.contents.draw(random))
    application.run()
    application.erase()
    return str(answer)


def _send_large(world: World, filler: Application, random: Random) -> Answer:
    key = _largest(world)
    message = stand_in.message(*key, random.randbytes(LARGEST))
    form = upload(filler.client_id, key, message)
    return world.caller.once("POST", "/send_file", filler.tokens[key[0]], **form)


def _largest(world: World) -> Key:
    largest = max(world.contents.public.slots, key=lambda slot: slot.maximum_bytes)
    return largest.party, largest.file_name
