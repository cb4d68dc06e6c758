"""What must hold whenever all is quiet, and at the end."""

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
from trials.faults.kills import workers
from trials.faults.world import World
from trials.processes import ended, open_files, resident_bytes, runs

SETTLE_SECONDS = 15.0
MOST_GROWTH = 60e6
"""Bytes that a server may have beyond what the least of all its processes had when it was ready."""
MOST_NEW_FILES = 24
"""Descriptors beyond those of a server that has just started."""
_UNSEEN = ("Exception in ASGI application", "exception was never retrieved", "Fatal Python error")
_END_CODES = (0, -15)


class Invariants:
    """Looks at everything; remembers what a server was like when it was new."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.settle_seconds = SETTLE_SECONDS
        """How long something may take to come right."""
        self._starts: dict[str, int] = {}
        self._memory: list[int] = []
        self._files: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self.workers = {server.name: len(workers(server)) for server in world.servers}
        self.note_new()

    def note_new(self) -> None:
        """Note what servers are like that were started since the last time."""
        for server in self._world.servers:
            if self._starts.get(server.name) != server.starts and server.alive:
                self._starts[server.name] = server.starts
                self._memory.append(resident_bytes(server.process))
                self._files[server.name] = open_files(server.process)

    def check(self, random: Random) -> None:
        """All that can be checked while servers run and no application is under way."""
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
        """Erase everything as the operator, see that nothing is left, and stop the servers."""
        world = self._world
        self.check(random)
        world.taken()
        for client_id in sorted(world.rows.applications()):
            answer = world.operator("DELETE", f"/applications/{client_id}")
            if answer.status not in (204, 410):
                world.breaks(Broken("errors are typed", f"{answer} to the operator"))
        if world.rows.applications():  # those whose time is over: a server sweeps when it starts
            world.servers[0].stop()
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
        """Finished applications still give the very same answers."""
        world = self._world
        for application in world.taken():
            try:
                for program, before in dict(application.answers).items():
                    answer = application.output(program, random.choice(application.parties))
                    if not answer.good:
                        application.give_up(answer)
                    if answer.body != before:
                        raise Broken("no wrong answer", "a result is not what it was before")
            except Ended:
                world.operator("DELETE", f"/applications/{application.client_id}")
            else:
                world.keep(application)

    def _no_access(self, random: Random) -> None:
        """No application's token opens another."""
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
        """As many workers as at the start, and nothing else."""
        world = self._world
        for server in world.servers:
            world.checked("no leak of processes")
            expected = self.workers[server.name]
            if not world.until(
                self.settle_seconds,
                lambda s=server, e=expected: len(workers(s)) == e,  # type: ignore[misc]
            ):
                raise Broken(
                    "no leak of processes",
                    f"{len(workers(server))} workers where there were {expected}",
                )

    def _files_and_rows(self, random: Random) -> None:
        """Nothing arrives, every row has its blob, and every blob its row."""
        world = self._world
        world.checked("no leak of files")

        def arrived() -> bool:
            found = (p for s in world.servers for p in (s.data / "incoming").iterdir())
            return not any(ARRIVING.fullmatch(path.name) for path in found)

        if not world.until(self.settle_seconds, arrived):
            raise Broken("no leak of files", "what was arriving has not gone")
        if world.setup.shared:
            return  # a crash's leftovers go by their age there; what is left at the end is checked

        def matched() -> bool:
            there = {(blob.store, blob.name) for blob in world.blobs.all()}
            return not there - world.rows.named()

        if not world.until(self.settle_seconds, matched):
            there = {(blob.store, blob.name) for blob in world.blobs.all()}
            raise Broken("no leak of files", f"{len(there - world.rows.named())} blobs of no row")

    def _descriptors(self, random: Random) -> None:
        """Connections and files are closed again."""
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
                    f"{open_files(server.process)} are open where {most} may be",
                )

    def _memory_bounded(self, random: Random) -> None:
        """However long it has run, a server has little more than a new one."""
        for server in self._world.servers:
            self._world.checked("no leak of memory")
            grown = resident_bytes(server.process) - min(self._memory)
            if grown > MOST_GROWTH:
                raise Broken("no leak of memory", f"{grown / 1e6:.0f} MB more than a new server")

    def _database(self, random: Random) -> None:
        """It is whole, and no job waits for ever."""
        world = self._world
        world.checked("database whole, no job forgotten")
        if found := world.rows.fault():
            raise Broken("database whole, no job forgotten", found)
        if not world.until(self.settle_seconds, lambda: world.rows.active() == 0):
            raise Broken("database whole, no job forgotten", f"{world.rows.active()} jobs stay")

    def _logs(self, random: Random) -> None:
        """No secret in them, and no error that nobody meant."""
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
                    line = new[at:].partition("\n")[0]  # what happened is at its end
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
                f"everything is erased, but there are {len(world.blobs.all())} blobs and rows: "
                f"{world.rows.rows()}",
            )

    def _stop(self) -> None:
        world = self._world
        children = [child for server in world.servers for child in server.children()]
        codes = [server.stop() for server in world.servers]
        world.checked("no leak of processes")
        left = ended([child for child in children if _own(child)], self.settle_seconds)
        if left or any(code not in _END_CODES for code in codes):
            raise Broken("no leak of processes", f"ended with {codes}; {len(left)} processes stay")

    def _swept(self) -> None:
        """What crashes left in a shared store goes by its age; here the sweeper need not wait."""
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
            raise Broken("no leak of files", f"the sweeper leaves {len(left)} blobs of no row")


def _own(process: psutil.Process) -> bool:
    return runs(process) and "ray" not in process.name()
