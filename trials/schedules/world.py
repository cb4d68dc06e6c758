"""The parties of one application, each with its folder, and what can happen to them."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from engines.interface import JointPartyEngine
from features.encoding import Layout
from parties.client import Posting
from parties.joint.channel import Channel, Place
from parties.joint.codes import open_joint
from parties.joint.identities import Trust
from parties.joint.member import JointMember
from parties.joint.messages import CONFIRM, PARTIAL
from trials.local_server import LocalClient, LocalServer
from trials.schedules.kills import FragileStore, Fuse, Killed
from trials.schedules.ledger import Ledger, Violated
from trials.schedules.person import goes_on
from trials.schedules.server import Client, DishonestServer
from utils.errors import DataFolderInUse, TrisealError


class WatchedEngine:
    """A party's engine, except that every decryption share is noted in the ledger."""

    def __init__(self, engine: JointPartyEngine, ledger: Ledger) -> None:
        self._engine, self._ledger = engine, ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def partial(self, program: str, result: bytes, party: str, *rest: Any) -> bytes:
        share = self._engine.partial(program, result, party, *rest)
        self._ledger.make(party, program, result, share)
        return share


class World:
    """One application at `server`; `parties` are the members that run, by name."""

    def __init__(
        self, server: LocalServer, engine: JointPartyEngine, folder: Path, draw: Random
    ) -> None:
        self.folder, self.draw = folder, draw
        self.public = server.public
        self.names = self.public.schema_.party_names
        self.ledger = Ledger(self.names)
        self.server = DishonestServer(server, draw, self._sent)
        self.refusals: Counter[str] = Counter()
        self.parties: dict[str, JointMember] = {}
        self.gone: set[str] = set()
        """The parties whose files have been erased."""
        self._fuses: dict[str, Fuse] = {}
        self._points: dict[str, int] = {}
        """Where parties that do not run now are killed after they are resumed."""
        self._snapshots: dict[str, list[Path]] = {}
        self._engine = WatchedEngine(engine, self.ledger)
        self._channels: dict[str, Channel] = {}
        client: Any = LocalClient(server)
        opening = open_joint(client, self.names, self.names)
        self.client_id = opening.client_id
        for name in self.names:
            connection = self._connection(name)
            self.parties[name] = JointMember.join(connection, name, opening.codes[name])

    def _connection(self, name: str) -> Any:
        fuse = self._fuses[name] = Fuse()
        fuse.left = self._points.pop(name, None)
        return SimpleNamespace(
            client=Client(self.server, name, fuse),
            store=FragileStore(self.folder / name, fuse, lambda: self.ledger.erase(name)),
            hours=24.0,
            witnesses=None,
            engine_lock=threading.Lock(),
            joint_engine=self._engine,
            layout=Layout(self.public.schema_),
            public=self.public,
            trust=Trust(),
        )

    def _sent(self, party: str, message: Posting) -> None:
        """Note a confirmation or a share, which any other receiver's channel can unseal."""
        step, receiver, body = message
        if step.partition(":")[0] in (CONFIRM, PARTIAL):
            reader = receiver or next(name for name in self.names if name != party)
            place = Place(self.client_id, self.public.model_version, party, receiver, step)
            self.ledger.send(party, step, self._channels[reader].open(place, body))

    def _own_folder(self, name: str) -> Path:
        return self.folder / name / self.client_id / name

    def act(self, name: str, step: Callable[[JointMember], object]) -> None:
        """Have a party do something; it is restarted first if it was killed before."""
        if name in self.gone:
            return
        try:
            if name not in self.parties:
                self._resume(name)
            member = self.parties[name]
            step(member)
            talk = member.own.protocol.conversation
            if talk.state.ready and name not in self._channels:
                self._channels[name] = talk.channel
        except Killed:
            self.server.count("kill at a write or a call")
            self.stop(name)
        except TrisealError as error:
            self.refusals[error.code] += 1

    def _resume(self, name: str) -> None:
        self.parties[name] = JointMember.resume(self._connection(name), self.client_id, name)

    def stop(self, name: str) -> None:
        """Drop a party's process; one that was killed saves nothing more."""
        member = self.parties.pop(name, None)
        if member is not None:
            with suppress(Killed):
                member.close()

    def restart(self, name: str) -> None:
        """Kill a party between two steps and resume it from its folder."""
        self._fuses[name].burnt = True
        self.stop(name)
        self.server.count("kill between steps")
        self.act(name, JointMember.keep_token)

    def light_fuse(self, name: str, points: int) -> None:
        """Have a party killed at the last of its next `points` writes and calls."""
        if name in self.parties:
            self._fuses[name].left = points
        else:
            self._points[name] = points

    def put_out_fuses(self) -> None:
        self._points.clear()
        for fuse in self._fuses.values():
            fuse.left = None

    def race(self, name: str) -> None:
        """Let a second process play a party that runs; raises Violated if it can."""
        if name not in self.parties or self.parties[name].closed:
            return
        running = self._fuses[name]
        connection = self._connection(name)
        self._fuses[name] = running
        self.server.count("second process for a folder")
        try:
            JointMember.resume(connection, self.client_id, name).close()
        except DataFolderInUse:
            return
        except TrisealError:
            if name in self.gone:
                return
            raise
        raise Violated(f"two processes played {name}")

    def snapshot(self, name: str) -> None:
        """Copy a party's folder as it is now."""
        if name in self.gone:
            return
        kept = self._snapshots.setdefault(name, [])
        path = self.folder / "snapshots" / f"{name}-{len(kept)}"
        shutil.copytree(self._own_folder(name), path)
        kept.append(path)

    def restore(self, name: str) -> None:
        """Put one of a party's snapshots back; the server hides what the party sent since."""
        kept = self._snapshots.get(name)
        if not kept:
            return
        if name in self.parties:
            self._fuses[name].burnt = True
        self.stop(name)
        shutil.rmtree(self._own_folder(name), ignore_errors=True)
        shutil.copytree(self.draw.choice(kept), self._own_folder(name))
        self.gone.discard(name)
        self.ledger.restore(name)
        self.server.restore(name)
        self.server.count("folder put back")

    def expire(self, name: str) -> None:
        """Let a party's own timer erase its files."""
        self.server.count("expiry at a party")
        self.act(name, JointMember.expire)
        if not self._own_folder(name).exists():
            self.gone.add(name)
            self.parties.pop(name, None)

    def end(self) -> None:
        """Let the server erase the application."""
        with suppress(TrisealError):
            self.server.local.applications.remove_for_operator(self.client_id)

    def offer_another(self, name: str | None) -> None:
        """Offer another result of a finished program, to one party or to all."""
        states = (member.state for member in self.parties.values())
        state = next((state for state in states if state is not None), None)
        done = (
            []
            if state is None
            else [p for p, run in state.programs.items() if run.status == "done"]
        )
        if not done:
            return
        with suppress(TrisealError):
            receivers = self.names if name is None else (name,)
            self.server.offer_another(self.client_id, self.draw.choice(done), receivers)

    def goes_on(self, name: str) -> None:
        """Have a party do all that is due, and what its person would do next."""
        self.act(name, goes_on)

    def close(self) -> None:
        for name in list(self.parties):
            self.stop(name)
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
