"""The table of docs/OPERATIONS.md shows the measured figures."""

import json

from settings import ROOT
from trials.growth import BEGIN, END, section, summary


def test_table_matches_the_measured_figures():
    document = json.loads((ROOT / "docs" / "load.json").read_text())
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    assert text[text.index(BEGIN) : text.index(END) + len(END)] == section(document)
    assert {load["wrong"] for load in document["loads"]} == {0}
    assert {load["lost"] for load in document["loads"]} == {0}


def test_figures_are_per_application():
    phase = {
        "name": "whole",
        "applications": {"right": 10, "wrong": 0, "lost": 0, "a_minute": 60.0},
        "cores": {
            "cpu_seconds": {
                "a": {"server": 1.0, "workers": 2.0},
                "b": {"server": 1.0, "workers": 0.0},
            }
        },
        "calls": {},
        "calls_each": 58.5,
        "evaluations": {"count": {"decide": 20}},
        "outside": {
            "calls": {
                "state": {"count": 99, "milliseconds": {"p95": 12.0}},
                "run_fhe": {"count": 10, "milliseconds": {"p95": 900.0}},
            }
        },
        "memory": {"a": {"growth": 1.0}, "b": {"growth": 2.0}},
    }
    (found,) = summary("here", {"phases": [phase]})
    assert (found["server_seconds"], found["worker_seconds"]) == (0.1, 0.1)
    assert found["calls"] == 58.5
    assert found["per_core_and_hour"] == 18000
    assert (found["load"], found["growth"], found["state p95"]) == ("here, whole", 2.0, 12.0)
