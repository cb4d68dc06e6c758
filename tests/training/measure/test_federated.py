"""The benchmark of a training by several lenders: its samples of processor time and its tables."""

import json
import os
import time

import pytest

from settings import ROOT
from training.measure.cpu_samples import CpuSamples
from training.measure.federated_tables import BEGIN, END, replace_table, section, text

TRAINING = {
    "lenders": 5,
    "levels": 182,
    "drop_outs": 0,
    "seconds": 18.2,
    "sum_seconds": 0.1,
    "coordinator_cpu_seconds": 0.0123,
    "server_cpu_seconds": 0.02,
    "lender_cpu_seconds": 0.007,
    "sent_bytes": 4800.0,
    "received_bytes": 1300.0,
    "models": [
        {
            **{"model": "ours", "trees": 60, "auc": 0.80961, "seconds": None},
            **{"products": 119, "decide_seconds": 0.0149},
            **{"equal": True, "same_splits": 136, "splits": 140},
        },
        {
            **{"model": "bagging", "trees": 1200, "auc": 0.8, "seconds": 80.2},
            **{"products": None, "decide_seconds": None},
        },
    ],
}
RESULT = {
    "machine": {"processor": "a processor", "cores": "2"},
    "load_before": 0.1,
    "rows_each": 20_000,
    "trees": 60,
    "trainings": [TRAINING],
}


def test_processor_time_between_two_moments():
    with CpuSamples({"me": os.getpid()}) as samples:
        start, used = time.time(), time.process_time()
        while time.process_time() < used + 0.5:
            pass
        end = time.time()
        samples.wait_for_next()
    busy = samples.between("me", start, end)
    assert 0.3 < busy < 0.8
    assert samples.between("me", start, start) == 0


def test_tables_have_the_figures():
    shown = text(RESULT)
    lines = {line.split("  ")[0]: line.split()[-1] for line in shown.splitlines() if "  " in line}
    assert lines["start to model, s"] == "18.2"
    assert lines["coordinator, ms CPU a sum"] == "12.3"
    assert lines["a lender sends, KB a sum"] == "4.8"
    equal = [line.split()[-1] for line in shown.splitlines() if line.startswith("equal to pooled")]
    assert equal == ["yes"] and "136 of 140" in shown
    own = next(line for line in shown.splitlines() if line.startswith("trained together"))
    assert own.split()[-4:] == ["0.8096", "119", "0.015", "18.2"]
    bagging = next(line for line in shown.splitlines() if line.startswith("bagging"))
    assert "not compiled" in bagging and bagging.endswith("80.2")


@pytest.mark.parametrize("load", [0.1, 6.0])
def test_a_busy_machine_is_mentioned(load):
    assert ("Other processes were running" in text(RESULT | {"load_before": load})) == (load > 1)


def test_only_the_marked_section_is_replaced(tmp_path):
    document = tmp_path / "FEDERATED.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_table(document, RESULT)
    changed = document.read_text()
    assert changed == f"before\n{section(RESULT)}\nafter\n" and "| 12.3 |" in changed


def test_the_document_has_the_measured_tables():
    result = json.loads((ROOT / "docs" / "federated.json").read_text())
    assert section(result) in (ROOT / "docs" / "FEDERATED.md").read_text()
