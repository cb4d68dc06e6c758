"""Invariants checked while no application is running, and at the end."""

from __future__ import annotations

import itertools
import json
from random import Random

import psutil

from engines.interface import DECIDE
from service.garbage_collector import remove_orphans
from service.storage.incoming import ARRIVING
from service.storage.storage import Storage
from settings import Settings
from trials.faults.application import Broken, Ended
from trials.faults.world import World
from trials.processes import ended, open_files, resident_bytes, runs

SETTLE_SECONDS = 15.0
MOST_GROWTH = 60e6
"""Bytes by which a server may exceed the smallest size of its processes when ready."""
MOST_NEW_FILES = 24
"""File descriptors by which a server may exceed a newly started one."""
_UNSEEN = ("Exception in ASGI application", "exception was never retrieved", "Fatal Python error")
_END_CODES = (0, -15)


class Invariants:
    """Checks all invariants; remembers the resources of newly started servers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.settle_seconds = SETTLE_SECONDS
        """Time for a condition to become true."""
        self._starts: dict[str, int] = {}
        self._memory: list[int] = []
        self._files: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self.workers = {server.name: len(server.workers()) for server in world.servers}
        self.note_new()

    def note_new(self) -> None:
        """Record the resources of servers started since the last call."""
        for server in self._world.servers:
            if self._starts.get(server.name) != server.starts and server.alive:
                self._starts[server.name] = server.starts
                self._memory.append(resident_bytes(server.process))
                self._files[server.name] = open_files(server.process)

    def check(self, random: Random) -> None:
        """Check everything that can be checked while servers run without applications."""
        self._world.caller.hang_up()
        for check in (
            self._kept_answers,
            self._no_access,
            self._processes,
            self._files_and_rows,
            self._descriptors,
            self._memory_bounded,
            self._database,
            self._logs,
        ):
            try:
                check(random)
            except Broken as error:
                self._world.breaks(error)

    def finish(self, random: Random) -> None:
        """Erase everything as the operator, check that nothing is left, and stop the servers."""
        world = self._world
        self.check(random)
        world.taken()
        for client_id in sorted(world.rows.applications()):
            answer = world.operator("DELETE", f"/applications/{client_id}")
            if answer.status not in (204, 410):
                world.breaks(Broken("errors are typed", f"{answer} to the operator"))
        if world.rows.applications():  # expired ones: a server sweeps on start
            world.servers[0].try_stop()
            world.servers[0].start()
            world.servers[0].wait()
        try:
            self._nothing_left()
            self._stop()
            self._swept()
            self._logs(random)
        except Broken as error:
            world.breaks(error)

    def _kept_answers(self, random: Random) -> None:
        """Finished applications still return the same results."""
        world = self._world
        for application in world.taken():
            try:
                for program, before in dict(application.answers).items():
                    answer = application.output(program, random.choice(application.parties))
                    if not answer.good:
                        application.give_up(answer)
                    if answer.body != before:
                        raise Broken("no wrong answer", "a result has changed")
            except Ended:
                world.operator("DELETE", f"/applications/{application.client_id}")
            else:
                world.keep(application)

    def _no_access(self, random: Random) -> None:
        """No application's token gives access to another application."""
        world = self._world
        kept = list(world.kept)
        for one, other in itertools.pairwise(random.sample(kept, min(len(kept), 6))):
            token = other.tokens[random.choice(other.parties)]
            form = {"client_id": one.client_id, "program": DECIDE}
            for answer in (
                world.caller.ask("GET", one.path, token),
                world.caller.ask("POST", "/get_output", token, data=form),
            ):
                if answer.code not in ("unknown-application", "application-expired"):
                    world.expect(answer, 401, "not-authorised")

    def _processes(self, random: Random) -> None:
        """There are as many workers as at the start."""
        world = self._world
        for server in world.servers:
            world.checked("no leak of processes")
            expected = self.workers[server.name]
            if not world.until(
                self.settle_seconds,
                lambda s=server, e=expected: len(s.workers()) == e,  # type: ignore[misc]
            ):
                raise Broken(
                    "no leak of processes",
                    f"{len(server.workers())} workers instead of {expected}",
                )

    def _files_and_rows(self, random: Random) -> None:
        """No upload is in progress, and every blob has a row."""
        world = self._world
        world.checked("no leak of files")

        def arrived() -> bool:
            found = (p for s in world.servers for p in (s.data / "incoming").iterdir())
            return not any(ARRIVING.fullmatch(path.name) for path in found)

        if not world.until(self.settle_seconds, arrived):
            raise Broken("no leak of files", "incoming files remain")
        if world.setup.shared:
            return  # leftovers of crashes are swept by age; `_swept` checks them at the end

        def matched() -> bool:
            there = {(blob.store, blob.name) for blob in world.blobs.all()}
            return not there - world.rows.named()

        if not world.until(self.settle_seconds, matched):
            there = {(blob.store, blob.name) for blob in world.blobs.all()}
            raise Broken(
                "no leak of files", f"{len(there - world.rows.named())} blobs without a row"
            )

    def _descriptors(self, random: Random) -> None:
        """Connections and files are closed."""
        world = self._world
        for server in world.servers:
            world.checked("no leak of descriptors")
            most = self._files[server.name] + MOST_NEW_FILES
            if not world.until(
                self.settle_seconds,
                lambda s=server, m=most: open_files(s.process) <= m,  # type: ignore[misc]
            ):
                raise Broken(
                    "no leak of descriptors",
                    f"{open_files(server.process)} are open, but at most {most} are allowed",
                )

    def _memory_bounded(self, random: Random) -> None:
        """A server needs little more memory than a new one, however long it has run."""
        for server in self._world.servers:
            self._world.checked("no leak of memory")
            grown = resident_bytes(server.process) - min(self._memory)
            if grown > MOST_GROWTH:
                raise Broken("no leak of memory", f"{grown / 1e6:.0f} MB more than a new server")

    def _database(self, random: Random) -> None:
        """The database is intact, and no job waits forever."""
        world = self._world
        world.checked("database whole, no job forgotten")
        if found := world.rows.fault():
            raise Broken("database whole, no job forgotten", found)
        if not world.until(self.settle_seconds, lambda: world.rows.active() == 0):
            raise Broken(
                "database whole, no job forgotten", f"{world.rows.active()} jobs remain active"
            )

    def _logs(self, random: Random) -> None:
        """The logs contain no secret and no unexpected error."""
        world = self._world
        secrets = world.secrets()
        for server in world.servers:
            world.checked("nothing secret in the logs")
            text = server.log()
            new = text[self._read.get(server.name, 0) :]
            self._read[server.name] = len(text)
            if any(secret in new for secret in secrets):
                raise Broken("nothing secret in the logs", "a token or code was logged")
            for words in _UNSEEN:
                if words in new:
                    at = new.index(words)
                    line = new[at:].partition("\n")[0]  # the exception is at its end
                    raise Broken("errors are typed", f"in the log: {line[:100]} … {line[-1400:]}")

    def _nothing_left(self) -> None:
        world = self._world
        world.checked("no leak of files")

        def empty() -> bool:
            rows = world.rows.rows()
            return not any(rows.values()) and (world.setup.shared or not world.blobs.all())

        if not world.until(self.settle_seconds, empty):
            raise Broken(
                "no leak of files",
                f"everything is erased, but {len(world.blobs.all())} blobs remain, and rows: "
                f"{world.rows.rows()}",
            )

    def _stop(self) -> None:
        world = self._world
        children = [child for server in world.servers for child in server.children()]
        codes = [server.try_stop() for server in world.servers]
        world.checked("no leak of processes")
        left = ended([child for child in children if _own(child)], self.settle_seconds)
        if left or any(code not in _END_CODES for code in codes):
            raise Broken(
                "no leak of processes", f"exit codes {codes}; {len(left)} processes remain"
            )

    def _swept(self) -> None:
        """The sweeper removes leftovers of crashes in a shared store; here, without waiting."""
        world = self._world
        if not world.setup.shared:
            return
        given = {n: v for n, v in world.setup.settings.items() if n in Settings.model_fields}
        blob_options = json.loads(given.pop("blob_options", "{}"))
        data = world.servers[0].data
        storage = Storage(
            Settings(_env_file=None, server_data=data, blob_options=blob_options, **given)
        )
        try:
            remove_orphans(storage, older_than=0.0)
        finally:
            storage.close()
        world.checked("no leak of files")
        if left := world.blobs.all():
            raise Broken("no leak of files", f"the sweeper leaves {len(left)} blobs without a row")


def _own(process: psutil.Process) -> bool:
    return runs(process) and "ray" not in process.name()
