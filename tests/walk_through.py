"""Walk-throughs of examples/, run in bash exactly as documented.

Their responses are compared with those in the document: the members, and the values except `…`.
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

END = "\x1e"
ANY = "…"
SECONDS = 120


class WalkThrough:
    """A document of examples/, its blocks, and the free ports in place of its own."""

    def __init__(self, name, ports):
        text = (ROOT / "examples" / name).read_text()
        self.blocks = re.findall(r"```(sh|json|text)\n(.+?)```", text, flags=re.DOTALL)
        self.ports = {known: free_port() for known in ports}
        self.printed = []

    def run(self, folder):
        """Run all commands with this folder, and a server with the stand-in engine."""
        own = environment(
            server_port=self.ports["8000"],
            server_data=folder / "server",
            engine="clear",
            disk_reserve_megabytes=1,
        )
        running = subprocess.Popen(
            ["bash", "-eu", "-c", self._script(folder)],
            cwd=ROOT,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        output = folder / "output"
        try:
            printed, errors = running.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as ended:
            log = output.read_text() if output.exists() else ""
            pytest.fail(f"{ended.stdout!r}\n{ended.stderr!r}\n{log}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        log = output.read_text() if output.exists() else ""
        assert errors == "" and "Traceback" not in log, (errors, printed, log)
        self.printed = printed.split(END)
        commands = [kind for kind, _ in self.blocks if kind == "sh"]
        assert len(self.printed) == len(commands) + 1, (printed, log)
        return self

    def require_responses(self, least):
        """Compare all responses with those of the document, at least so many."""
        compared = commands = 0
        for kind, text in self.blocks:
            if kind == "sh":
                commands += 1
                continue
            compared += 1
            printed = self.printed[commands - 1]
            text = self._with_ports(text)
            if kind == "text":
                assert printed == text
            else:
                require_like(json.loads(text), json.loads(printed), f"block {commands}")
        assert compared >= least

    def _script(self, folder):
        server = shlex.join([sys.executable, *STAND_IN_SERVER])
        parts = []
        for kind, text in self.blocks:
            if kind != "sh":
                continue
            text = text.replace("TRISEAL_ENGINE=levelled .venv/bin/python server.py", "SERVER")
            text = text.replace(".venv/bin/python", sys.executable).replace(".data/", f"{folder}/")
            text = self._with_ports(text.replace("SERVER", server))
            text = re.sub(r" &$", f" >> {folder}/output 2>&1 &", text, flags=re.MULTILINE)
            parts.append(f"{text}\nprintf '{END}'\n")
        return "".join(parts)

    def _with_ports(self, text):
        for known, port in self.ports.items():
            text = re.sub(rf"\b{known}\b", str(port), text)
        return text


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
