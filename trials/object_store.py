"""An S3 server (moto, in its own process) for the tests of storage.

`object_store` is a new bucket for one test; `object_stores` makes one per call, for fixtures with
a longer life. Set TRISEAL_BLOB_URL to its URL and TRISEAL_BLOB_OPTIONS to `json.dumps(options)`.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from trials.attached import Attached
from utils.ports import free_port

SECRET = "object-store-secret"  # noqa: S105


class ObjectStore(NamedTuple):
    """The arguments of BlobPlace."""

    url: str
    options: dict[str, Any]


ObjectStores = Callable[[], ObjectStore]


@contextmanager
def running_object_store(log: Path) -> Iterator[ObjectStores]:
    """Run a server; yields a function that makes a new bucket."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    server = Attached(
        '"$@" </dev/null & server=$!; cat >/dev/null; kill -9 "$server"',
        *(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        log=log,
    )

    with httpx.Client(base_url=endpoint, timeout=10) as http:

        def ready() -> bool:
            try:
                return http.get("/moto-api/").is_success
            except httpx.TransportError:
                return False

        def new_bucket() -> ObjectStore:
            bucket = f"triseal-{secrets.token_hex(4)}"
            http.put(f"/{bucket}").raise_for_status()
            options = {"endpoint_url": endpoint, "key": "triseal", "secret": SECRET}
            return ObjectStore(f"s3://{bucket}/blobs", options)

        server.wait_until(ready)
        try:
            yield new_bucket
        finally:
            server.end()


@pytest.fixture(scope="session")
def object_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStores]:
    with running_object_store(tmp_path_factory.mktemp("object_store") / "log") as new_bucket:
        yield new_bucket


@pytest.fixture
def object_store(object_stores: ObjectStores) -> ObjectStore:
    return object_stores()
