"""The demonstration of several lenders in a small form, with all of its processes."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from training.federated_demo.__main__ import demonstrate, main
from training.federated_demo.report import document, text
from training.measure.machine import descendants

ROWS = {"north": 500, "west": 400, "south": 400}
TREES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder for all temporary files while these tests run."""
    own = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(own))
        patch.setenv("TMPDIR", str(own))
        yield own


@pytest.fixture(scope="module")
def shown(folder):
    """Return the result of the demonstration, and the steps that it has told."""
    steps: list[str] = []
    assert folder.is_dir()
    return demonstrate(ROWS, TREES, 2, 1, steps.append, test_rows=600), steps


def test_the_model_is_that_of_pooled_training_although_a_lender_drops_out(shown):
    result, steps = shown
    assert result.comparison.equal
    found = {one.name: one for one in result.trained.lenders}
    assert set(found) == set(ROWS) and found["west"].drop_outs == 1
    assert found["north"].drop_outs == found["south"].drop_outs == 0
    record = result.trained.run.record
    assert len(record.trees) == TREES
    assert record.trees[-1].lenders == tuple(sorted(ROWS))  # west is back
    assert any("the process of west is killed" in step for step in steps)


def test_the_table_has_all_lenders_and_the_document_their_figures(shown):
    result, _ = shown
    table, found = text(result), json.loads(json.dumps(document(result)))
    assert all(any(line.startswith(name) for line in table.splitlines()) for name in ROWS)
    assert result.trained.run.digest in table and "yes, byte for byte" in table
    assert {one["name"]: one["rows"] for one in found["lenders"]} == ROWS
    assert all(one["sent_bytes"] > 1000 for one in found["lenders"])
    assert len(found["decisions"]["approved"]) == 2
    assert 0 < found["decisions"]["evaluation_seconds"] < found["decisions"]["seconds"]
    assert found["decisions"]["external_products"] > 0


def test_no_process_and_no_file_is_left(shown, folder):
    assert shown
    assert left_behind(folder) == ([], [])


def test_an_interruption_stops_all_processes_and_removes_all_files(shown, folder):
    running: list[int] = []

    def interrupt(step: str) -> None:
        if step.startswith("A coordinator"):
            running.extend(processes_in(folder))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demonstrate(ROWS, TREES, 2, 1, interrupt, test_rows=600)
    assert len(running) >= len(ROWS)
    assert left_behind(folder) == ([], [])


def left_behind(folder):
    return processes_in(folder), [path.name for path in folder.glob("triseal-*")]


def processes_in(folder):
    """Return the ids of our processes that name the folder in their arguments or settings."""
    found = []
    for process in descendants(os.getpid()):
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{process}/{name}").read_bytes()
            except OSError:
                continue  # it has just ended
            if f"{folder}/triseal-".encode() in content:
                found.append(process)
                break
    return found


@pytest.mark.parametrize("words", [["--rows", "5", "5"], ["--trees", "1"], ["--applicants", "0"]])
def test_impossible_options_are_usage_errors(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "need" in capsys.readouterr().err
