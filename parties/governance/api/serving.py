"""Listening and serving: one process serves an agent's interface, with or without a page."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from utils.errors import PortInUse, TransportError
from utils.ports import check_port, unused_socket
from web.announcement import AnnouncedServer
from web.connections import guarded

GRACE_SECONDS = 5
START_SECONDS = 30.0


def bind(host: str, port: int, what: str, option: str) -> socket.socket:
    """Return a bound socket; raises PortInUse and AddressInvalid.

    `what` names the listener and `option` the option of its port, for the message.
    """
    check_port(host, port, what, option)
    try:
        listener = unused_socket(host, port)
    except OSError as error:  # another process took it first
        raise PortInUse(f"Port {port} is in use; choose another one with {option}.") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def server_of(app: ASGIApp, silence: float, line: str) -> uvicorn.Server:
    """Return a server of the app that prints `line` once it listens."""
    config = uvicorn.Config(
        app,
        http=guarded(silence),
        log_config=None,
        access_log=False,
        proxy_headers=False,  # no proxy is expected: callers connect themselves
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    return AnnouncedServer(config, line)


def serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; must be called in the main thread."""
    gc.collect()
    gc.freeze()
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after shutting down
        server.run(sockets=[listener])


@contextmanager
def serving(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread during the `with`, while the main thread serves a page.

    Raises TransportError if the server does not start.
    """
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="agent's interface", daemon=True
    )
    thread.start()
    try:
        if not _started(server, thread):
            raise TransportError("The agent's interface did not start; its output has the reason.")
        yield
    finally:
        server.should_exit = True
        thread.join(2 * GRACE_SECONDS)


def stop_on_sigterm() -> None:
    """Have SIGTERM end the process as Ctrl-C does, so that everything is closed."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _started(server: uvicorn.Server, thread: threading.Thread) -> bool:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.02)):
        if server.started:
            return True
        if not thread.is_alive():
            return False
        pause.wait(0.02)  # uvicorn has no event for its start
    return False
