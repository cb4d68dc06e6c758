"""The operator's calls and command: list, show, cancel, revoke, erase; for the operator only."""

from __future__ import annotations

import json
import subprocess
import sys

from engines.interface import DECIDE
from tests.service.driver import Server, bearer, refused
from tests.service.jobs.test_waiting import until
from trials.stand_in import ROOT


def token(server: Server) -> str:
    path = server.data / "operator_token"
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text()


def command(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "TRISEAL_SERVER_DATA": str(server.data),
        "TRISEAL_SERVER_URL": str(server.http.base_url),
    }
    return subprocess.run(
        (sys.executable, "-m", "service.operations", *words),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_operator_calls_require_the_operators_token(server: Server) -> None:
    application = server.filled()
    paths = ["/operator/applications", "/operator/jobs"]
    paths.append(f"/operator/applications/{application.client_id}")
    for path in paths:
        refused(server.http.get(path), 401, "not-authorised")
        refused(server.http.get(path, headers=application.auth()), 401, "not-authorised")
        refused(server.http.get(path, headers=bearer("wrong")), 401, "not-authorised")
        assert server.http.get(path, headers=bearer(token(server))).status_code == 200
    refused(server.http.delete(paths[2], headers=application.auth()), 401, "not-authorised")
    assert application.state()["state"] == "ready"


def test_the_command_lists_shows_cancels_revokes_and_erases(server: Server) -> None:
    application, running = server.filled(), server.filled(b"sleep 15")
    running.queue()
    until(running, "running")
    listed = {
        line["client_id"]: line for line in json.loads(command(server, "list", "--json").stdout)
    }
    assert listed[application.client_id]["state"] == "ready"
    assert listed[application.client_id]["joined"] == sorted(application.parties)
    assert running.client_id in command(server, "jobs", "--status", "running").stdout
    shown = command(server, "show", application.client_id)
    assert json.loads(shown.stdout)["client_id"] == application.client_id
    for secret in (*application.tokens.values(), *application.codes.values()):
        assert secret not in shown.stdout

    assert "cancelled" in command(server, "cancel", running.client_id, DECIDE).stdout
    assert until(running, "cancelled")
    assert running.state()["programs"][DECIDE]["error_code"] == "run-cancelled"

    assert command(server, "revoke", application.client_id).returncode == 0
    refused(application.output(), 401, "not-authorised")
    before = server.blobs()
    assert command(server, "erase", application.client_id).returncode == 0
    assert len(server.blobs()) < len(before)
    refused(application.output(), 404, "unknown-application")
    again = command(server, "erase", application.client_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "no such application" in again.stderr


def test_command_errors_name_the_missing_input(server: Server, tmp_path) -> None:
    ended = command(server, "erase", "no-id")
    assert ended.returncode == 1
    assert "32 hexadecimal digits" in ended.stderr
    elsewhere = subprocess.run(
        (sys.executable, "-m", "service.operations", "list"),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TRISEAL_SERVER_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert elsewhere.returncode == 1
    assert "operator's token" in elsewhere.stderr
