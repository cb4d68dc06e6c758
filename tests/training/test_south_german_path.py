"""The whole path on real loans with three parties: schema, train, compile, evaluate, report."""

from __future__ import annotations

import csv
import json
import random

import training.compile
import training.evaluate
import training.train
from features.schema import Schema
from tests.pdf_text import pdf_text
from tests.training.south_german_file import south_german_file
from training import south_german
from training.deployment_folder import MODEL_FILE, MODEL_FILE_PDF


def coded(name: str, codes: str, source: str | None = None) -> dict:
    column = {"name": name, "label": name, "kind": "categorical", "values": list(codes)}
    return column | ({"source": source} if source else {})


def number(name: str, maximum: int, cuts: list[int], **more) -> dict:
    column = {"name": name, "label": name, "kind": "ordinal", "minimum": 0, "maximum": maximum}
    return column | {"cuts": cuts} | more


SCHEMA = {
    "name": "south_german_loans",
    "title": "South German loans",
    "parties": [
        {
            "name": "applicant",
            "label": "Applicant",
            "columns": [
                coded("housing", "123"),
                coded("employed_since", "12345", "employment_duration"),
            ],
        },
        {
            "name": "bank",
            "label": "Bank",
            "columns": [
                coded("status", "1234"),
                coded("savings", "12345"),
                number("amount", 50_000, [1000, 2000, 3000, 4000, 8000]),
                number("duration", 100, [9, 12, 18, 24, 36, 48], monotone="falling"),
            ],
        },
        {
            "name": "agency",
            "label": "Agency",
            "columns": [coded("credit_history", "01234"), coded("number_credits", "1234")],
        },
    ],
    "decision": {"target": "credit_risk", "approved_value": 1},
    "audit_columns": [
        number("age", 120, [25, 40, 62], unit="years"),
        coded("status_and_sex", "1234", "personal_status_sex"),
    ],
}


def run(command, *arguments) -> int:
    return command([str(argument) for argument in arguments])


def write_table(path, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(south_german.NAMES.values()), *rows])


def test_schema_to_report_with_encrypted_decisions(tmp_path, monkeypatch, capsys) -> None:
    table = south_german.table_of(south_german_file().read_bytes())
    schema, data, model = (tmp_path / name for name in ("schema.json", "loans.csv", "model"))
    schema.write_text(json.dumps(SCHEMA))
    write_table(data, table)
    monkeypatch.setattr(training.train, "SHAPES", training.train.SHAPES[6:7])
    assert run(training.train.main, "--schema", schema, "--data", data, "--out", model) == 0
    out, report, results = (tmp_path / name for name in ("compiled", "report", "results.json"))
    engines = ("--engines", "clear", "levelled")
    assert run(training.compile.main, "--model", model, "--out", out, *engines) == 0
    evaluated = ("--deployment", out, "--model", model)
    named = (*evaluated, "--data", data, "--report", report, "--json", results)
    counts = ("--applicants", 3, "--explanations", 1)
    assert run(training.evaluate.main, *named, *counts) == 0
    (encrypted,) = json.loads(results.read_text())
    assert encrypted["scores_equal"]["decide"] == 3 and encrypted["difference"] is None
    found = json.loads((report / "validation.json").read_text())
    assert found["rows"]["source"] == "held-out rows" and found["rows"]["count"] == 200
    assert found["quality"]["auc"]["value"] > 0.7 and found["quality"]["auc"]["low"] > 0.6
    assert found["decisions"]["agreement_with_float_model"]["value"] > 0.98
    assert "Platt" in found["calibration"]["source"] and found["not_audited"] == []
    columns = [column.name for column in Schema.parse(SCHEMA).columns()]
    assert [line["name"] for line in found["stability"]["columns"]] == ["score", *columns]
    assert found["stability"]["training_rows"] == 800
    ages = [group["group"] for group in found["groups"]["age"]]
    assert ages[0] == "under 25 years" and all(g["rows"] >= 30 for g in found["groups"]["age"])
    assert (report / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert "## Fairness: outcomes by group" in (report / "validation.md").read_text()
    file = (out / MODEL_FILE).read_text()
    assert (
        "Validation: calibration" in file and "| duration | Bank | 7 public bins, falling" in file
    )
    assert "under25years" in "".join(pdf_text((out / MODEL_FILE_PDF).read_bytes()).split())

    capsys.readouterr()
    shuffled = tmp_path / "shuffled.csv"
    write_table(shuffled, random.Random(1).sample(table, len(table)))
    assert run(training.evaluate.main, *evaluated, "--data", shuffled, "--report-only") == 0
    assert "200 rows (without 800 rows of the file that the model was trained on)" in (
        capsys.readouterr().out
    )
    assert run(training.evaluate.main, "--deployment", out, "--report-only") == 1
    assert "needs labelled rows" in capsys.readouterr().err
