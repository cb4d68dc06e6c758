"""The deployment's nginx configuration, served by a real nginx of this user."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from settings import ROOT

TEMPLATE = ROOT / "deploy" / "nginx.conf.template"
START_SECONDS = 30.0
_VARIABLE = re.compile(r"\$\{(PROXY_[A-Z_]+)\}")
_MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/triseal.conf;
}}
"""


def filled(variables: Mapping[str, str]) -> str:
    """Return the configuration as envsubst writes it; every variable must be given, and used."""
    text = TEMPLATE.read_text()
    assert set(_VARIABLE.findall(text)) == variables.keys()
    return _VARIABLE.sub(lambda found: variables[found[1]], text)


@contextmanager
def nginx(folder: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Run nginx with the filled template until the context ends; its files are in `folder`."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary is not None, "nginx is missing: run scripts/install_nginx"
    folder.mkdir(exist_ok=True)
    logs = {name: str(folder / f"{name}.log") for name in ("access", "error")}
    own = {f"PROXY_{name.upper()}_LOG": path for name, path in logs.items()} | dict(variables)
    (folder / "triseal.conf").write_text(filled(own))
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    output = folder / "output"
    with output.open("wb") as written:
        running = subprocess.Popen(
            [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdout=written,
            stderr=written,
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not _listens(int(own["PROXY_TLS_PORT"])):
            assert running.poll() is None and time.monotonic() < end, output.read_text()
            time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(START_SECONDS)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
