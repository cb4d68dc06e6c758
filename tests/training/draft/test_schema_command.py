"""`python -m training.schema`: what it prints and writes, and a model trained by its schema."""

import json
import random
import stat

import pytest

import training.train
from features.schema import Schema
from tests.training.south_german_file import south_german_file
from training.schema import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a file in which 16 bins of the income lose nothing."""
    draw = random.Random(2)
    lines = ["income,age,savings,BAD"]
    for _ in range(400):
        income = draw.randrange(10, 90) * 1000
        bad = int(income + draw.gauss(0, 20_000) < 35_000)
        lines.append(f"{income},{draw.randrange(18, 80)},{draw.randrange(5000)},{bad}")
    path = tmp_path_factory.mktemp("data") / "loans 2025.csv"
    path.write_text("\n".join([*lines, "20000,30,10,"]))
    return path


def test_decisions_are_printed_and_the_schema_is_written(data, tmp_path, capsys):
    out = tmp_path / "schema.json"
    arguments = ["--data", str(data), "--target", "BAD", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line}
    assert "applicant: ordinal" in rows["income"] and "bank: ordinal" in rows["savings"]
    assert "audit only" in rows["age"] and "--keep" in rows["age"]
    assert "left out: 1" in printed
    assert 'income may be "monotone": "rising"' in printed
    cost = next(line for line in printed.splitlines() if "binning costs" in line)
    raw, binned = (float(cost.split(f"{name} ")[1][:6]) for name in ("raw columns", "bits"))
    assert abs(raw - binned) < 0.02 < 0.2 < raw - 0.5
    schema = Schema.load(out)
    assert schema.name == "loans_2025" and not schema.column("income").optional
    assert schema.column("income").monotone == "free"  # only suggested
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert main(arguments) == 1
    assert "--replace" in capsys.readouterr().err
    assert main([*arguments, "--replace", "--keep", "age"]) == 0
    assert Schema.load(out).column("age").clip


def test_errors_are_one_line(data, tmp_path, capsys):
    missing = ["--data", str(tmp_path / "none.csv"), "--target", "BAD"]
    assert main(missing) == 1
    assert main(["--data", str(data), "--target", "GOOD", "--out", str(tmp_path / "x.json")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "none.csv cannot be read" in first
    assert "no column called 'GOOD'; the columns are income, age, savings, BAD" in second
    assert not (tmp_path / "x.json").exists()


def test_south_german_credit_is_drafted_and_trained(tmp_path, monkeypatch, capsys):
    file, out = south_german_file(), tmp_path / "schema.json"
    told = ["--party", "lender=amount,duration,purpose"]
    named = ["--data", str(file), "--target", "credit_risk", "--out", str(out), *told]
    assert main(named) == 0
    printed = capsys.readouterr().out
    assert "approved_value is 1" in printed
    schema = Schema.load(out)
    audited = {column.name for column in schema.audit_columns}
    assert audited == {"age", "foreign_worker", "personal_status_sex"}
    assert schema.party_names == ["applicant", "lender", "bank", "credit_agency"]
    assert schema.column("purpose").kind == "categorical"
    monkeypatch.setattr(training.train, "SHAPES", training.train.SHAPES[6:7])
    model = tmp_path / "model"
    arguments = ["--schema", str(out), "--data", str(file), "--no-timing", "--out", str(model)]
    assert training.train.main(arguments) == 0
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["data"]["approved_share"] == 0.7
    assert metrics["test"]["auc"] > 0.68
