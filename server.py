"""Entry: the scoring server.

`python server.py` listens where the settings say; `uvicorn server:app` leaves that to uvicorn.
Run one process only: the workers, the events and the clean-up belong to it (`--workers 1`).
Settings come from the environment (settings.py); logs go to stderr (service/logs.py).
"""

from __future__ import annotations

import errno
import gc
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from service import logs
from settings import Settings, get_settings
from utils.errors import PortInUse, ServerUnreachable, TransportError
from utils.terminal import print_any_text

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_SECONDS = 10
"""What requests under way get at the end, before they are cut off."""
BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else is started.

    Raises PortInUse, and ServerUnreachable where the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} of {host} is in use by another program; stop it, or set "
                "TRISEAL_SERVER_PORT to a free port."
            ) from error
        raise ServerUnreachable(
            f"The server cannot listen at {host}, port {port} ({error.strerror or error}); set "
            "TRISEAL_SERVER_HOST and TRISEAL_SERVER_PORT."
        ) from error
    # asyncio turns Nagle's algorithm off only for sockets made with IPPROTO_TCP, which this one is
    # not; with it, every second answer of a kept connection waits 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: FastAPI, listener: socket.socket) -> bool:
    """Serve until a signal ends it; answers whether it ever started."""
    import uvicorn  # here and not above, so that a port in use shows at once

    from service.listening import guarded

    logs.configure()
    config = uvicorn.Config(
        app,
        http=guarded(get_settings().stall_timeout),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    server = uvicorn.Server(config)
    # What exists now stays; a full collection that looked through it would hold up calls (70 ms).
    gc.collect()
    gc.freeze()
    with suppress(KeyboardInterrupt):  # uvicorn passes Ctrl-C on when it has ended
        server.run(sockets=[listener])
    return server.started


def main() -> int:
    """Run the server; 1 where it could not start, with one line that says why."""
    print_any_text()
    try:
        settings = get_settings()
        listener = listen(settings.server_host, settings.server_port)
    except ValidationError as error:
        names = ", ".join(f"TRISEAL_{str(e['loc'][0]).upper()}" for e in error.errors() if e["loc"])
        print(f"These settings are not valid: {names}; see the README.", file=sys.stderr)
        return 1
    except TransportError as error:
        print(error.message, file=sys.stderr)
        return 1
    place = f"http://{settings.server_host}:{settings.server_port}"
    print(f"Triseal's server listens at {place}", flush=True)
    return 0 if serve(_app(settings), listener) else 1


def _app(settings: Settings) -> FastAPI:
    from service.app import create_app

    return create_app(settings)


if __name__ == "__main__":
    sys.exit(main())
elif __name__ != "__mp_main__":  # a worker process imports this file too, and needs no app
    app = _app(get_settings())
