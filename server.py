"""Entry point of the scoring server.

`python server.py` listens at the address from the settings; with `uvicorn server:app`, uvicorn
chooses it. Run a single process (`--workers 1`): it owns the workers, the events and the clean-up.
Settings come from the environment (settings.py); logs go to stderr (web/request_log.py).
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import errno
import gc
import socket
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from settings import get_settings, settings_help
from utils.addresses import url_of
from utils.collector import without_collections
from utils.errors import PortInUse, ServerUnreachable, TrisealError
from utils.one_line import in_one_line
from utils.open_files import require_open_files
from utils.ports import unused_socket
from utils.terminal import print_any_text
from web import request_log as logs

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.execution.worker import EngineLoader

SETTINGS = ("engine", "deployment", "server_host", "server_port", "server_data", "workers")
"""The settings in the help; docs/SETTINGS.md has all."""
GRACE_SECONDS = 10
"""Time for requests in progress to finish after the server is told to stop."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port` that does not listen yet.

    Raises PortInUse, and ServerUnreachable if `host` is not an address of this machine.
    """
    try:
        listener = unused_socket(host, port)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    # asyncio disables Nagle's algorithm only for sockets created with IPPROTO_TCP, which this one
    # may not be; with it, every second response on a connection waits 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: FastAPI, listener: socket.socket) -> bool:
    """Serve until a signal stops the server; return True if it started.

    Prints the server's URL once it listens. Raises PortInUse.
    """
    import uvicorn  # imported late, so that a port in use is reported at once

    from web.announcement import AnnouncedServer
    from web.connections import guarded

    logs.configure()
    config = uvicorn.Config(
        app,
        http=guarded(get_settings().stall_timeout),
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the app itself has the list of trusted proxies
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    host, port = listener.getsockname()[:2]
    server = AnnouncedServer(config, f"Triseal's server listens at {url_of(host, port)}")
    # Long-lived objects are frozen: a full collection that scanned them would delay calls by 70 ms.
    gc.collect()
    gc.freeze()
    try:
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after shutting down
            server.run(sockets=[listener])
    except SystemExit:  # raised by uvicorn after a failed start, whose cause is in the log
        return False
    except OSError as error:
        if server.started or error.errno != errno.EADDRINUSE:
            raise
        raise _cannot_listen(host, port, error) from error  # another process took the port first
    return server.started


def main(loader: EngineLoader | None = None, arguments: Sequence[str] = ()) -> int:
    """Run the server; return 1 if it could not start, after printing the reason in one line.

    The port is bound first and the server listens on it once the storage is open. `loader`
    replaces the default function that loads the engine in the worker processes. `arguments` are
    the words of the command line, which has no options but `--help`.
    """
    print_any_text()
    CommandParser(
        prog="python server.py", description=__doc__, epilog=settings_help(*SETTINGS)
    ).parse_args(arguments)
    try:
        settings = get_settings()
        require_open_files()
        with closing(bind(settings.server_host, settings.server_port)) as listener:
            with without_collections():
                from service.app import create_app
                from service.execution.worker import load_registered
                from service.storage.storage import Storage

                storage = Storage(settings)
                app = create_app(settings, loader or load_registered, storage)
            return 0 if serve(app, listener) else 1
    except (TrisealError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1


def _cannot_listen(host: str, port: int, error: OSError) -> TrisealError:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"Port {port} of {host} is in use by another program; stop it, or set "
            "TRISEAL_SERVER_PORT to a free port."
        )
    return ServerUnreachable(
        f"The server cannot listen at {host}, port {port} ({error.strerror or error}); set "
        "TRISEAL_SERVER_HOST and TRISEAL_SERVER_PORT."
    )


def _app() -> FastAPI:
    """Return the app for an external ASGI server; exit the process if it cannot be created."""
    from service.app import create_app

    try:
        return create_app(get_settings())
    except TrisealError as error:
        print(in_one_line(error), file=sys.stderr)
        sys.exit(1)


def __getattr__(name: str) -> Any:
    """Return a new `app`, which only an external ASGI server asks for."""
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    run_command(lambda: main(arguments=sys.argv[1:]))
