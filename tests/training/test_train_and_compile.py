"""Choosing and compiling a model: the rule, the tables, and the files of a compilation."""

import hashlib
import json
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import training.compile
import training.train
from engines.deployment import Deployment
from engines.registry import load_server_engine
from tests.conftest import METRICS
from tests.pdf_text import pdf_text
from training.compile import compile_deployment
from training.deployment_folder import PURPOSE, require_replaceable, restore_previous
from training.frontier import Entry, choose, save, table
from utils.errors import DeploymentMissing, FolderNotOurs, ModelTooLarge
from utils.marked_folder import MARK, is_marked
from utils.scratch_folder import scratch_folder

ROOT = Path(__file__).resolve().parents[2]


def entry(name, auc, bootstraps, **more):
    return Entry(name, auc + 0.001, auc, 0.7, 0.99, 7, bootstraps, bootstraps, 20, **more)


def test_the_cheapest_shape_that_is_good_enough_is_chosen():
    entries = [entry("cheap", 0.780, 0), entry("good", 0.7985, 10), entry("best", 0.801, 80)]
    assert choose(entries, 0.800, 0.002) == 1


def test_better_of_equally_cheap_shapes_is_chosen():
    entries = [entry("a", 0.799, 10), entry("b", 0.800, 10), entry("c", 0.805, 11)]
    assert choose(entries, 0.800, 0.002) == 1


def test_the_tolerance_is_inclusive():
    assert choose([entry("exact", 0.75, 0), entry("better", 0.9, 5)], 1.0, 0.25) == 0


def test_best_shape_is_chosen_if_none_is_good_enough():
    assert choose([entry("a", 0.70, 0), entry("b", 0.75, 90), entry("c", 0.74, 5)], 0.8, 0.002) == 1


def test_table_marks_the_choice_and_omits_missing_times():
    chosen = entry("good", 0.7985, 10, decide_seconds=0.1234, explain_seconds=0.25, chosen=True)
    text = table([entry("cheap", 0.78, 0), chosen], 0.8)
    head, columns, cheap, good = text.splitlines()
    assert "AUC 0.8000" in head and "PBS" in columns
    assert cheap.startswith("  cheap") and cheap.split()[-2:] == ["-", "-"]
    assert good.startswith("> good") and good.split()[-2:] == ["0.123", "0.250"]
    assert len(cheap) == len(good) == len(columns)


def test_the_frontier_is_saved_with_a_plot(tmp_path):
    entries = [entry("cheap", 0.78, 0), replace(entry("good", 0.7985, 10), chosen=True)]
    save(entries, 0.8, tmp_path)
    saved = json.loads((tmp_path / "frontier.json").read_text())
    assert saved["reference_auc"] == 0.8
    assert [(e["name"], e["chosen"]) for e in saved["entries"]] == [
        ("cheap", False),
        ("good", True),
    ]
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def compiled(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "deployment"
    compile_deployment(trained, folder, ["clear"], score_bits=7)
    return folder


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): digest_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_compilation_is_consistent_and_has_a_model_card(compiled):
    deployment = Deployment.load(compiled)
    assert deployment.programs["decide"].score_bits == 7
    card = (compiled / "model_card.md").read_text()
    assert deployment.manifest.model_version in card and "must not be used" in card
    file = (compiled / "model_file.md").read_text()
    for name, digest in deployment.manifest.files.items():
        assert f"| {name} | {digest} |" in file
    assert digest_of(compiled / "manifest.json") in file
    text = "".join(pdf_text((compiled / "model_file.pdf").read_bytes()).split())
    for shown in (deployment.manifest.model_version, "Inputsandlegalbasis", "Changelog"):
        assert shown in text
    assert METRICS.items() <= json.loads((compiled / "metrics.json").read_text()).items()
    assert "| AUC | 0.8000 | 0.7900 |" in card
    assert "never falls as `Years_employed` grows" in card


def test_recompiling_gives_the_same_files(trained, compiled, tmp_path):
    compile_deployment(trained, tmp_path / "again", ["clear"], score_bits=7)
    assert files_of(tmp_path / "again") == files_of(compiled)


def test_levelled_engine_is_compiled_with_its_own_programs(trained, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        compile_deployment(trained, folder, ["levelled"], score_bits=7)
    assert files_of(folders[0]) == files_of(folders[1])
    deployment = Deployment.load(folders[0])
    assert deployment.programs["decide"].score_bits == 7
    assert deployment.programs_of("levelled")["decide"].score_bits == 12
    assert "with scores of 12 bits" in (folders[0] / "model_card.md").read_text()


def test_score_width_changes_the_model_version(trained, compiled, tmp_path):
    compile_deployment(trained, tmp_path / "wide", ["clear"], score_bits=9)
    wide, narrow = Deployment.load(tmp_path / "wide"), Deployment.load(compiled)
    assert wide.programs["decide"].score_bits == 9
    assert wide.manifest.model_version != narrow.manifest.model_version


def test_uncompiled_engine_error_has_advice(compiled):
    for engine in ("concrete", "concrete_ml"):
        with pytest.raises(DeploymentMissing, match=rf"{engine} \(it has: clear\).*make compile"):
            load_server_engine(engine, compiled)


def test_missing_model_error_names_the_command(tmp_path, capsys):
    arguments = ["--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert training.compile.main(arguments) == 1
    assert "run `make train` first" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [None, b"", b"not a zip archive", b"PK\x03\x04 cut short"])
def test_missing_training_rows_error_advises_training(trained, tmp_path, damage):
    for name in ("schema.json", "booster.json", "metrics.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    if damage is not None:
        (tmp_path / "training_rows.npz").write_bytes(damage)
    with pytest.raises(DeploymentMissing, match="make train"):
        compile_deployment(tmp_path, tmp_path / "out", ["clear"])


def test_failed_compilation_leaves_only_the_old_folder(trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "deployment"
    compile_deployment(trained, out, ["clear"], score_bits=7)
    before = files_of(out)

    def fail(*arguments, **options):
        raise ModelTooLarge("Too large for the test.")

    monkeypatch.setattr(training.compile, "build_levelled", fail)
    arguments = ["--model", trained, "--out", out, "--engines", "clear", "levelled"]
    assert training.compile.main([*map(str, arguments), "--score-bits", "7"]) == 1
    assert "Too large for the test." in capsys.readouterr().err
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["deployment"]


def test_a_new_compilation_replaces_every_old_file(trained, tmp_path):
    out = tmp_path / "deployment"
    compile_deployment(trained, out, ["levelled"], score_bits=7)
    assert (out / "levelled").is_dir()
    compile_deployment(trained, out, ["clear"], score_bits=7)
    assert Deployment.load(out).manifest.engines == {"clear": {}}
    assert not (out / "levelled").exists()


# --- files that must not be deleted


def content_and_modes(folder):
    return {p: (p.stat().st_mode, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


@pytest.mark.parametrize("name", ["holiday.jpg", "concrete/stale.bin", "manifest.json"])
def test_foreign_folder_is_refused_before_compiling(trained, tmp_path, capsys, name):
    """A folder without a deployment is never replaced, with or without a mark."""
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    before = content_and_modes(tmp_path)
    arguments = ["--model", trained, "--out", tmp_path / "out", "--engines", "clear"]
    assert training.compile.main([str(argument) for argument in arguments]) == 1
    message = capsys.readouterr().err
    assert name.split("/")[0] in message and "--out" in message
    assert content_and_modes(tmp_path) == before


def test_an_added_file_in_a_deployment_is_not_deleted(trained, tmp_path):
    out = tmp_path / "deployment"
    compile_deployment(trained, out, ["clear"], score_bits=7)
    (out / "programs" / "notes.txt").write_text("mine")
    before = content_and_modes(tmp_path)
    with pytest.raises(FolderNotOurs, match=r"programs/notes\.txt.*Move it"):
        compile_deployment(trained, out, ["clear"], score_bits=7)
    assert content_and_modes(tmp_path) == before


def test_a_file_added_while_compiling_is_not_deleted(trained, tmp_path, monkeypatch):
    out = tmp_path / "deployment"
    compile_deployment(trained, out, ["clear"], score_bits=7)

    def add(*arguments):
        (out / "notes.txt").write_text("mine")
        return "card"

    monkeypatch.setattr(training.compile, "model_card", add)
    with pytest.raises(FolderNotOurs, match="notes"):
        compile_deployment(trained, out, ["clear"], score_bits=7)
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["deployment"]


def test_unmarked_deployment_is_replaced(trained, compiled, tmp_path):
    out = tmp_path / "deployment"
    shutil.copytree(compiled, out)
    (out / MARK).unlink()
    (out / "benchmark.json").write_text('{"model_version": "another"}')
    compile_deployment(trained, out, ["clear"], score_bits=7)
    assert files_of(out) == files_of(compiled)


def test_unmarked_deployment_with_a_missing_file_is_refused(trained, compiled, tmp_path):
    out = tmp_path / "deployment"
    shutil.copytree(compiled, out)
    (out / MARK).unlink()
    (out / "programs" / "decide.json").unlink()
    with pytest.raises(FolderNotOurs):
        compile_deployment(trained, out, ["clear"], score_bits=7)


def test_an_empty_folder_keeps_its_mode_and_a_link_stays_a_link(trained, tmp_path):
    (tmp_path / "real").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    compile_deployment(trained, tmp_path / "link", ["clear"], score_bits=7)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o750
    assert Deployment.load(tmp_path / "real").manifest.engines == {"clear": {}}


def test_the_deployment_in_this_repository_can_be_replaced():
    require_replaceable(ROOT / "deployment_files")
    assert is_marked(ROOT / "deployment_files", PURPOSE)


def temporary_folders(folder):
    return [path.name for path in folder.glob(".compile-*")]


def test_folder_of_a_killed_compilation_is_removed_at_the_next_start(trained, tmp_path):
    """The folder of a compilation that is still running is kept."""
    command = ["-m", "training.compile", "--model", trained, "--out", tmp_path / "other"]
    process = subprocess.Popen(
        [sys.executable, *map(str, command), "--engines", "levelled"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(tmp_path.glob(".compile-*/new")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        (running,) = temporary_folders(tmp_path)
        compile_deployment(trained, tmp_path / "deployment", ["clear"], score_bits=7)
        assert temporary_folders(tmp_path) == [running]
    finally:
        process.kill()
        process.wait()
    assert temporary_folders(tmp_path) == [running]
    compile_deployment(trained, tmp_path / "deployment", ["clear"], score_bits=7)
    assert temporary_folders(tmp_path) == []
    assert not (tmp_path / "other").exists()


def test_a_deployment_survives_a_kill_between_the_two_renames(trained, compiled, tmp_path):
    out = tmp_path / "deployment"
    shutil.copytree(compiled, out)
    script = """
import os, signal, sys
from pathlib import Path
from training.deployment_folder import replace_deployment
from utils.scratch_folder import scratch_folder
rename = Path.rename
def kill_at_the_second(path, target):
    if path.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = kill_at_the_second
out = Path(sys.argv[1])
with scratch_folder(".compile-", out.parent) as scratch:
    (scratch / "new").mkdir()
    replace_deployment(scratch / "new", out, scratch)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(out)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    with scratch_folder(".compile-", tmp_path, restore_previous):
        pass
    assert files_of(out) == files_of(compiled)
    assert [path.name for path in tmp_path.iterdir()] == ["deployment"]


def test_training_refuses_a_foreign_folder(tmp_path, capsys):
    """Training writes schema.json and other names that a user's folder may contain."""
    (tmp_path / "schema.json").write_text("mine")
    assert training.train.main(["--out", str(tmp_path), "--no-timing"]) == 1
    assert "schema.json" in capsys.readouterr().err
    assert (tmp_path / "schema.json").read_text() == "mine"


def test_missing_engine_error_names_the_command_for_it(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training.compile, "can_run", lambda engine: engine != "concrete")
    arguments = ["--model", trained, "--out", tmp_path / "out", "--engines", "levelled", "concrete"]
    assert training.compile.main([*map(str, arguments)]) == 1
    assert 'make compile ENGINES="levelled concrete"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
