"""Schema texts and file names may contain any character, even if the terminal supports few."""

import io
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from parties.client import ServerClient
from parties.joint.codes import open_joint
from settings import ROOT
from tests.parties.running import LiveServer
from training.compile import compile_deployment
from utils import terminal
from utils.child_process import ChildProcess, environment

POSIX = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LATIN = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
LABEL = "Банк “Ł”"
ESCAPED = LABEL.encode("ascii", "backslashreplace").decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, schema, small_booster, credit_data):
    """Return a trained model whose schema has labels outside ASCII."""
    folder = tmp_path_factory.mktemp("modèle")
    document = schema.model_dump(mode="json")
    for party in document["parties"]:
        party["label"] = LABEL
    (bits, y), _ = credit_data
    metrics = {
        "data": {"source": "files given with --data", "target": "Denied", "rows": 9,
                 "drawn": None, "seed": 5, "approved_share": 0.6},
        "test": {"rows": 9, "reference_auc": 0.8, "reference_accuracy": 0.7, "auc": 0.8,
                 "accuracy": 0.7, "score_bits": 7},
        "shape": "small", "groups": {},
    }  # fmt: skip
    (folder / "schema.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    (folder / "booster.json").write_bytes(small_booster)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    np.savez_compressed(folder / "training_rows.npz", bits=np.packbits(bits, axis=1), y=y)
    return folder


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    compile_deployment(trained, folder / "deployment", ["levelled"], score_bits=7)
    server = LiveServer(folder, folder / "deployment", "levelled")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(("variables", "shown"), [(POSIX, ESCAPED), (LATIN, ESCAPED)])
def test_an_agent_without_a_page_works_with_any_label(server, tmp_path, variables, shown):
    with ServerClient(server.url, 30) as client:
        code = open_joint(client).codes["bank"]
    words = ["--party", "bank", "--server", server.url, "--home", str(tmp_path / "bank")]
    command = ["-m", "parties", *words, "--no-page", "--join", code]
    agent = ChildProcess(command, tmp_path / "log", {}, variables)
    agent.start()
    try:
        agent.wait_until(lambda: "joined." in agent.log(), 60)
        assert agent.stop(signal.SIGINT, 60) == 0
    finally:
        agent.kill()
    assert f"{shown}: application " in (tmp_path / "log").read_text("ascii")


def test_compiling_works_with_any_path_and_label(trained, tmp_path):
    out = tmp_path / "Кредит"
    words = ["--model", trained, "--out", out, "--engines", "clear", "--score-bits", "7"]
    ended = subprocess.run(
        [sys.executable, "-m", "training.compile", *map(str, words)],
        cwd=ROOT,
        env=environment() | LATIN,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert out.name.encode("ascii", "backslashreplace") in ended.stdout
    assert LABEL in (out / "schema.json").read_text("utf-8")


def test_unencodable_characters_are_escaped(monkeypatch):
    for name in ("stdout", "stderr"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding="latin-1"))
        with pytest.raises(UnicodeEncodeError):  # the control
            print("Ł", file=getattr(sys, name), flush=True)
        terminal.print_any_text()
        print("Müller Ł \udce4", file=getattr(sys, name), flush=True)
        assert written.getvalue() == b"M\xfcller \\u0141 \\udce4\n"


def test_every_command_prepares_its_output():
    """Entry points that use ui.entry.run_entry need no call of their own."""
    entry = re.compile(r"""^(el)?if __name__ [!=]= ["']__m""", re.MULTILINE)
    prepared = re.compile(
        r"print_any_text\(\)|run_command\(|run_entry\(|import main|backslashreplace"
    )
    unprepared = []
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith((".", "tests/", "examples/", "build/")):
            continue
        text = path.read_text("utf-8")
        if entry.search(text) and not prepared.search(text):
            unprepared.append(name)
    assert unprepared == []
