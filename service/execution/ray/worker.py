"""An actor on a Ray cluster, as used by the server: start, calls, time limits and replacement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ObjectLostError, RayError, RayTaskError

from service.execution.interface import Introduction, WorkerLostError
from service.execution.ray.actor import EvaluationActor
from service.execution.worker import EngineSource
from utils.errors import DeploymentMixed, EngineUnavailable, TrisealError

logger = logging.getLogger("triseal.workers")

LOAD_SECONDS = 300.0
CONTROL_SECONDS = 5.0
ALIVE_SECONDS = 20.0
"""A dead actor is reported at once; this leaves time for one that waits for a core."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds between two attempts to replace an actor."""
_CONTROL = "control"


class MessageLostError(Exception):
    """A message is no longer in the object store and must be stored again."""


def make_actor(source: EngineSource) -> ActorHandle:
    """Create an actor with one CPU, which Ray restarts on any node with room if it dies.

    It ends with this process.
    """
    actor = ray.remote(
        num_cpus=1,
        max_restarts=-1,
        max_concurrency=1,
        concurrency_groups={_CONTROL: 2},
        scheduling_strategy="SPREAD",
    )(EvaluationActor)
    return actor.remote(source)


class RayWorker:
    """One actor, or its replacement; for use from one event loop.

    `changed` is called when its engine has become ready.
    """

    def __init__(self, make: Callable[[], ActorHandle], changed: Callable[[], None]) -> None:
        self._make = make
        self._changed = changed
        self._turn = asyncio.Lock()
        self._actor: ActorHandle | None = None
        self._introduction: Introduction | None = None
        self._wanted: Introduction | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def ready(self) -> bool:
        """True if the engine is loaded."""
        return self._introduction is not None

    async def start(self) -> Introduction:
        """Make the actor load its engine, unless it is loaded.

        Raises EngineUnavailable, DeploymentError.
        """
        async with self._turn:
            if self._introduction is None:
                self._introduction = await self._load()
                self._changed()
            return self._introduction

    def expect(self, wanted: Introduction) -> None:
        """Require this engine from now on; replace the actor in the background if it differs."""
        self._wanted = wanted
        if self._introduction != wanted:
            self.replace()

    async def call(self, seconds: float, method: str, *arguments: Any) -> Any:
        """Call a method of the actor, with a time limit, and return its result.

        The actor runs one call at a time. If the caller is cancelled, the actor is replaced. Raises
        the errors of the method, WorkerLostError, MessageLostError.
        """
        if self._actor is None:
            raise WorkerLostError("died")
        try:
            return await _answer(getattr(self._actor, method).remote(*arguments), seconds)
        except (TrisealError, MessageLostError):
            raise
        except TimeoutError as error:
            self.replace(kill=True)
            raise WorkerLostError("late") from error
        except RayError as error:  # the actor, its node or the only copy of the result is lost
            logger.error("an actor is lost (%s)", type(error).__name__)
            self.replace()
            raise WorkerLostError("died") from error
        except asyncio.CancelledError:
            self.replace(kill=True)
            raise

    async def ask(self, method: str, *arguments: Any, seconds: float = CONTROL_SECONDS) -> Any:
        """Call a method alongside the running call; return None if there is no response."""
        if self._actor is None:
            return None
        bound = getattr(self._actor, method).options(concurrency_group=_CONTROL)
        try:
            return await _answer(bound.remote(*arguments), seconds)
        except (RayError, TrisealError, TimeoutError):
            return None

    async def forget(self, store: str) -> None:
        """Make the actor drop everything that it caches of an application."""
        if self.ready:
            await self.ask("forget", store)

    async def alive(self) -> bool:
        """Return True if the actor responds."""
        return self.ready and bool(await self.ask("alive", seconds=ALIVE_SECONDS))

    def replace(self, kill: bool = False) -> None:
        """Treat the actor as lost and replace it in the background."""
        self._introduction = None
        if not self._stopped and (self._restarting is None or self._restarting.done()):
            self._restarting = asyncio.create_task(self._restart(kill))

    async def stop(self) -> None:
        """Stop the actor for good."""
        self._stopped = True
        self._introduction = None
        if self._restarting is not None:
            self._restarting.cancel()
            with suppress(asyncio.CancelledError):
                await self._restarting
        await self._kill(restart=False)

    async def _load(self) -> Introduction:
        try:
            actor: ActorHandle = self._actor or await asyncio.to_thread(self._make)
            self._actor = actor
            introduction: Introduction = await _answer(actor.introduce.remote(), LOAD_SECONDS)
        except ActorDiedError as error:
            self._actor = None  # Ray will not restart it
            raise _unavailable("has died") from error
        except TimeoutError as error:
            raise _unavailable("has found no node with a free CPU, or loads too long") from error
        except RayError as error:
            raise _unavailable(f"cannot be reached ({type(error).__name__})") from error
        if self._wanted is not None and introduction != self._wanted:
            await self._kill(restart=True)  # its replacement loads the deployment again
            raise DeploymentMixed(
                "A node of the cluster has a different deployment than the server, or the "
                "deployment was replaced while the server ran. Copy the same deployment to every "
                "node and restart the server."
            )
        return introduction

    async def _restart(self, kill: bool) -> None:
        if kill:
            await self._kill(restart=True)
        pause = SHORTEST_PAUSE
        while not self._stopped:
            try:
                await self.start()
                logger.info("an actor is ready")
                return
            except TrisealError as error:
                if pause == SHORTEST_PAUSE:  # logged once, since a node may be away for long
                    logger.warning("an actor cannot be replaced yet: %s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _kill(self, restart: bool) -> None:
        if self._actor is not None:
            with suppress(RayError, ValueError, TimeoutError):
                async with asyncio.timeout(CONTROL_SECONDS):
                    await asyncio.to_thread(ray.kill, self._actor, no_restart=not restart)


async def _answer(reference: ray.ObjectRef, seconds: float) -> Any:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), seconds)
    except RayTaskError as error:  # raised by the method
        if isinstance(error.cause, ObjectLostError | ray.exceptions.GetTimeoutError):
            raise MessageLostError from error
        if isinstance(error.cause, TrisealError):
            raise error.cause from error
        raise


def _unavailable(what: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"A worker on the Ray cluster {what}; see `ray status` and the logs of its nodes."
    )
