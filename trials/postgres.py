"""A PostgreSQL server for the tests: that of TRISEAL_TEST_DATABASE_URL, or a temporary one.

`postgres()` makes a new, empty database per call and returns its URL. The temporary server runs on
a free port of 127.0.0.1 with a random password (as the user postgres if the tests run as root),
and ends, with its files, when the tests do.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from trials.attached import Attached
from utils.ports import free_port

GIVEN = "TRISEAL_TEST_DATABASE_URL"
MISSING = (
    "PostgreSQL is missing: install it (Debian: apt-get install postgresql), or set "
    f"{GIVEN} to a database whose user may create databases."
)
OWNER = "triseal"
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "fsync=off",  # safe against kill -9, though not against power failures
    "full_page_writes=off",
)
# Its files are removed when it ends, unless it was only stopped.
SCRIPT = """
folder=$1; shift
"$@" </dev/null & server=$!
cat >/dev/null
kill -INT "$server"; wait "$server"
[ -e "$folder/stopped" ] || rm -rf "$folder"
"""

Databases = Callable[[], str]


class PostgresMissing(Exception):
    """PostgreSQL is not available; the message says what to do."""


def find_binaries() -> Path:
    """Return the folder of initdb and postgres of the newest version."""
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name)
    )
    for folder in reversed(candidates):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    initdb = shutil.which("initdb")
    if initdb is not None and (folder := Path(initdb).resolve().parent / "postgres").exists():
        return folder.parent
    raise PostgresMissing(MISSING)


def as_user() -> tuple[str, tuple[str, ...]]:
    """Return the server's user, and a command prefix to run as it; PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name, ()
    try:
        user = pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise PostgresMissing(MISSING) from None
    return user, ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--")


def new_folder(user: str, start: tuple[str, ...]) -> Path:
    """Make an empty folder that the user can access, whatever the mode of the usual one."""
    for base in (tempfile.gettempdir(), "/var/tmp", "/dev/shm"):  # noqa: S108
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="triseal-postgres-", dir=base))
            shutil.chown(folder, user)
            if subprocess.run((*start, "test", "-w", str(folder)), check=False).returncode == 0:
                return folder
            folder.rmdir()
    raise PostgresMissing(f"There is no temporary folder that the user {user} can access.")


class Postgres:
    """A temporary server. Raises PostgresMissing if PostgreSQL is not installed."""

    def __init__(self) -> None:
        binaries = find_binaries()
        user, start = as_user()
        self.folder = new_folder(user, start)
        self._port = free_port()
        self._password = secrets.token_hex(16)
        # The URL for SQLAlchemy; psycopg needs "postgresql://".
        self._admin = self._url("postgres", "postgres")
        password = self.folder / "password"
        password.write_text(self._password)
        shutil.chown(password, user)
        data = str(self.folder / "data")
        initdb = (str(binaries / "initdb"), "-D", data, "--no-sync", "--auth=scram-sha-256")
        more = (f"--pwfile={password}", "--username=postgres", "--encoding=UTF8", "--locale=C")
        try:
            subprocess.run(
                (*start, *initdb, *more), cwd="/", check=True, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self.folder)
            raise RuntimeError(f"initdb failed: {error.stderr}") from error
        password.unlink()
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        self._command = (
            *(str(self.folder), *start, str(binaries / "postgres")),
            *("-D", data, "-p", str(self._port), *settings),
        )
        self.start()
        with connected(self._admin) as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{self._password}'")

    def start(self) -> None:
        (self.folder / "stopped").unlink(missing_ok=True)
        self._server = Attached(SCRIPT, *self._command, log=self.folder / "log")
        self._server.wait_until(self._answers)

    def stop(self) -> None:
        """Stop until `start`; existing connections are closed."""
        (self.folder / "stopped").touch()
        self._server.end()

    def end(self) -> None:
        self._server.end()
        shutil.rmtree(self.folder, ignore_errors=True)  # left if it was stopped

    def new_database(self) -> str:
        """Make an empty database owned by an ordinary user; returns its URL."""
        name = f"triseal_{secrets.token_hex(6)}"
        with connected(self._admin) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        return self._url(OWNER, name).render_as_string(hide_password=False)

    def _url(self, user: str, database: str) -> URL:
        return URL.create(
            "postgresql+psycopg",
            username=user,
            password=self._password,
            host="127.0.0.1",
            port=self._port,
            database=database,
        )

    def _answers(self) -> bool:
        try:
            with connected(self._admin):
                return True
        except psycopg.OperationalError:
            return False


def connected(url: URL | str) -> psycopg.Connection:
    """Return a connection in autocommit mode."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, connect_timeout=10)


def dumped(url: str) -> bytes:
    """Return all rows of all tables of a database, as PostgreSQL formats them."""
    with connected(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [row[0] for row in tables.fetchall()]
        every = sql.SQL("SELECT t::text FROM {} t")
        rows = [connection.execute(every.format(sql.Identifier(name))).fetchall() for name in names]
    return repr(rows).encode()


def given_databases(url: str) -> Iterator[Databases]:
    """Make databases on an existing server; they are dropped at the end."""
    made: list[str] = []

    def new_database() -> str:
        name = f"triseal_test_{secrets.token_hex(6)}"
        with connected(url) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        made.append(name)
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    yield new_database
    with connected(url) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    if url := os.environ.get(GIVEN):
        yield from given_databases(url)
        return
    try:
        server = Postgres()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    try:
        yield server.new_database
    finally:
        server.end()
