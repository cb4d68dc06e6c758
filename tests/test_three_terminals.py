"""The commands of the walk-through for three terminals are run exactly as documented."""

import json
import re
import shlex
import subprocess
import sys
import time

import pytest

from parties.client import ServerClient
from settings import ROOT
from tests.parties.running import LiveServer, Oracle
from utils.child_process import environment

GUIDE = (ROOT / "examples" / "three_terminals.md").read_text()
PLAIN, _, PINNING = GUIDE.partition("\n## 5. Optional: pin the institutions\n")


def commands_of(text):
    return [found.strip() for found in re.findall(r"```sh\n(.+?)```", text, flags=re.DOTALL)]


COMMANDS, IDENTITIES = commands_of(PLAIN), commands_of(PINNING)
URL = "http://127.0.0.1:8000"


def words_of(command, url, code=""):
    """Return a command's arguments, with this server's address and this join code."""
    words = shlex.split(command.replace(URL, url).replace("CODE", code))
    assert words.pop(0) == ".venv/bin/python"
    return [sys.executable, *words]


@pytest.fixture(scope="module")
def server(tmp_path_factory, levelled_deployment):
    own, *words = shlex.split(COMMANDS[0])
    assert own == "TRISEAL_ENGINE=levelled" and words == [".venv/bin/python", "server.py"]
    started = LiveServer(tmp_path_factory.mktemp("server"), levelled_deployment, "levelled")
    started.start()
    with ServerClient(started.url, 10) as client:
        yield client
    started.stop()


def test_guide_has_a_command_for_every_process(schema):
    assert len(COMMANDS) == 3 + len(schema.party_names)
    for party, command in zip(schema.party_names, COMMANDS[2:-1], strict=True):
        assert f"-m parties --party {party} " in command and " CODE " in command
    assert COMMANDS[-1] == ".venv/bin/python app.py"
    assert len(IDENTITIES) == 2 and "`--trust trust.txt`" in PINNING


def trust_file(folder, kept):
    """Run the optional step's commands, and return the trust file of the lines that they print."""
    lines = ""
    for command in IDENTITIES:
        ended = subprocess.run(
            words_of(command, URL),
            cwd=ROOT,
            env=environment(**kept),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        lines += ended.stdout.splitlines()[-1] + "\n"
    path = folder / "trust.txt"
    path.write_text(lines)
    return path


def test_guide_commands_decide_and_explain(server, schema, levelled_deployment, tmp_path):
    """With the optional step; tests/parties/test_agent.py starts agents without it."""
    kept = {"party_data": tmp_path / "parties"}
    trust = ["--trust", str(trust_file(tmp_path, kept))]
    opening = subprocess.run(
        words_of(COMMANDS[1], server.url),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = dict(line.split(": ") for line in opening.stdout.strip().splitlines())
    assert list(said) == [*schema.party_names, "watch"]
    processes = [
        subprocess.Popen(
            words_of(command, server.url, said[party]) + trust,
            cwd=ROOT,
            env=environment(**kept),
            stdout=subprocess.PIPE,
            text=True,
        )
        for party, command in zip(schema.party_names, COMMANDS[2:-1], strict=True)
    ]
    deadline = time.monotonic() + 90
    printed = [p.communicate(timeout=max(1.0, deadline - time.monotonic()))[0] for p in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    oracle = Oracle(levelled_deployment, "levelled")
    record = {}
    for party in schema.party_names:
        record |= json.loads((ROOT / "examples" / "records" / f"{party}.json").read_text())
    score = oracle.score(record)
    word = "approved" if score >= 0 else "denied"
    assert all(f": {word}, score {score}.\n" in text for text in printed)
    for own, text in zip(schema.party_names, printed, strict=True):
        for other in set(schema.party_names) - {own}:
            known = "not pinned: " if other == "applicant" else "pinned, key "
            assert f": {schema.party(other).label}: {known}" in text
    client_id, token = said["watch"].partition("#watch=")[2].split(".")
    assert len(server.traffic(client_id, token).items) > 20
