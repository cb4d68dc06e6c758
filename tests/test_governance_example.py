"""The walk-through for owners and institutions is run in bash exactly as documented.

Its responses are compared with those in the document: the members, and the values except `…`.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from settings import ROOT
from trials.servers import STAND_IN_SERVER
from utils.child_process import environment
from utils.ports import free_port

GUIDE = (ROOT / "examples" / "governance.md").read_text()
BLOCKS = re.findall(r"```(sh|json|text)\n(.+?)```", GUIDE, flags=re.DOTALL)
END = "\x1e"
ANY = "…"
SECONDS = 120


def script_of(folder, ports):
    """Return the commands with this folder, these ports, and a server with the stand-in engine."""
    server = shlex.join([sys.executable, *STAND_IN_SERVER])
    parts = []
    for kind, text in BLOCKS:
        if kind != "sh":
            continue
        text = text.replace("TRISEAL_ENGINE=levelled .venv/bin/python server.py", "SERVER")
        text = text.replace(".venv/bin/python", sys.executable).replace(".data/", f"{folder}/")
        text = text.replace("SERVER", server)
        for known, port in ports.items():
            text = re.sub(rf"\b{known}\b", str(port), text)
        text = re.sub(r" &$", f" >> {folder}/output 2>&1 &", text, flags=re.MULTILINE)
        parts.append(f"{text}\nprintf '{END}'\n")
    return "".join(parts)


def require_like(documented, found, place="response"):
    """Compare a response with the documented one, in which `…` stands for anything."""
    if documented == ANY:
        return
    if isinstance(documented, dict):
        assert isinstance(found, dict) and list(found) == list(documented), (place, found)
        for name, value in documented.items():
            require_like(value, found[name], f"{place}.{name}")
    elif isinstance(documented, list):
        assert isinstance(found, list) and len(found) == len(documented), (place, found)
        for number, value in enumerate(documented):
            require_like(value, found[number], f"{place}.{number}")
    else:
        assert found == documented, (place, found)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Run the whole walk-through; return each block with commands, with its output."""
    folder = tmp_path_factory.mktemp("governance")
    ports = {known: free_port() for known in ("8000", "5001", "5002", "5101")}
    own = environment(
        server_port=ports["8000"],
        server_data=folder / "server",
        engine="clear",
        disk_reserve_megabytes=1,
    )
    running = subprocess.Popen(
        ["bash", "-eu", "-c", script_of(folder, ports)],
        cwd=ROOT,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = running.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired as ended:
        log = (folder / "output").read_text() if (folder / "output").exists() else ""
        pytest.fail(f"{ended.stdout!r}\n{ended.stderr!r}\n{log}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    log = (folder / "output").read_text() if (folder / "output").exists() else ""
    assert errors == "" and "Traceback" not in log, (errors, printed, log)
    found = printed.split(END)
    assert len(found) == len([kind for kind, _ in BLOCKS if kind == "sh"]) + 1, (printed, log)
    return found, ports


def test_responses_are_those_of_the_document(outputs):
    found, ports = outputs
    compared = commands = 0
    for kind, text in BLOCKS:
        if kind == "sh":
            commands += 1
            continue
        compared += 1
        printed = found[commands - 1]
        for known, port in ports.items():
            text = re.sub(rf"\b{known}\b", str(port), text)
        if kind == "text":
            assert printed == text
        else:
            require_like(json.loads(text), json.loads(printed), f"block {commands}")
    assert compared >= 18


def test_values_of_the_data_appear_in_no_response(outputs):
    """The results are the only values; a single income and the record's own are in none."""
    printed = "".join(outputs[0])
    for value in ("2100", "2450", "Ann Example", "1990-04-01", "42000", "DE02120300000000202051"):
        assert not re.search(rf"\b{value}\b", printed), value
