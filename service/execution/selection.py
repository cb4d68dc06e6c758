"""Selection of the executor by the settings."""

from __future__ import annotations

from functools import partial

from service.execution.interface import Executor
from service.execution.local import LocalExecutor
from service.execution.ray.proxy import ExecutorProxy
from service.execution.worker import EngineLoader
from service.storage.blobs import BlobPlace
from settings import Settings
from utils.errors import EngineUnavailable


def executor_of(settings: Settings, place: BlobPlace, loader: EngineLoader) -> Executor:
    """Return the executor: local worker processes, or actors on Ray.

    The workers import `loader` by name.
    """
    if settings.executor == "ray":
        return ExecutorProxy(partial(ray_executor, settings, place, loader))
    return LocalExecutor(settings, place, loader)


def ray_executor(settings: Settings, place: BlobPlace, loader: EngineLoader) -> Executor:
    """Return Ray's executor in this process; raises EngineUnavailable if Ray is not installed."""
    try:
        from service.execution.ray.cluster import RayExecutor
    except ImportError as error:
        raise EngineUnavailable(
            f"TRISEAL_EXECUTOR=ray needs Ray, which cannot be loaded ({error}); run `make "
            "setup-cluster`."
        ) from error
    return RayExecutor(settings, place, loader)
