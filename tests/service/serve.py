"""A server with the stand-in engine: `python -m tests.service.serve`; settings by TRISEAL_*."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the workers import this file too
    from server import listen, serve
    from service.app import create_app
    from settings import Settings
    from tests.service.stand_in import load

    settings = Settings()
    listener = listen(settings.server_host, settings.server_port)
    sys.exit(not serve(create_app(settings, load), listener))
