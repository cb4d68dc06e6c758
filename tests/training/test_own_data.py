"""Own data: other parties, other columns and another CSV, without changes to the code.

Training and compiling run as the commands that a person would type; then a whole application goes
over HTTP, and every opened score must be the one that the compiled program gives in the clear.
"""

import csv
import importlib
import json
import random
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import training.train
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from model.explanation import Outcome
from model.polynomial import sample_states
from parties.single_key.session import ApplicationSession
from tests.parties.running import Oracle, started
from training.encrypted_runs import EncryptedRuns
from utils.child_process import environment

ROOT = Path(__file__).resolve().parents[2]
ROWS = 600

REASONS, JOBS = ["DebtCon", "HomeImp"], ["Mgr", "Office", "Other", "Self"]


def ordinal(name, maximum, cuts, **more):
    column = {"name": name, "label": name.title(), "kind": "ordinal", "minimum": 0}
    return column | {"maximum": maximum, "cuts": cuts, "default": 0} | more


def categorical(name, values, **more):
    column = {"name": name, "label": name.title(), "kind": "categorical", "values": values}
    return column | {"default": values[0]} | more


def party(name, *columns):
    return {"name": name, "label": name.title(), "columns": list(columns)}


HOME_EQUITY = {
    "name": "home_equity",
    "title": "Home equity loans",
    "parties": [
        party(
            "borrower",
            ordinal("LOAN", 100_000, [10_000, 20_000, 40_000], default=15_000),
            categorical("REASON", REASONS, optional=True, default=None),
            categorical("JOB", JOBS),
            ordinal("DEBTINC", 200, [20, 30, 35, 40, 45], optional=True, default=None),
        ),
        party(
            "bureau",
            ordinal("DELINQ", 15, [1, 2, 3], integer=True),
            ordinal("CLAGE", 1200, [60, 120, 180, 240], unit="months", default=90),
        ),
    ],
    "decision": {"target": "DEFAULTED", "approved_value": 0},
    "explanation": {"column": "CLAGE", "phrase": "months of credit history"},
    "audit": ["REASON"],
}

TENANCY = {
    "name": "tenancy",
    "title": "Deposits for tenants",
    "parties": [
        party("tenant", ordinal("rent", 5000, [500, 900, 1400], default=700)),
        party(
            "employer",
            {"name": "permanent", "label": "Permanent", "kind": "boolean", "default": True},
            ordinal("tenure", 50, [1, 3, 6], default=2, form="bins"),
        ),
        party("landlord", ordinal("late_rents", 60, [1, 3], integer=True)),
        party("bank", ordinal("savings", 1_000_000, [1000, 5000, 20_000], default=3000)),
    ],
    "decision": {"target": "repaid", "approved_value": 1, "approved": "granted"},
    "explanation": {"column": "tenure", "assume": {"permanent": True}, "phrase": "years there"},
}


def home_equity_rows():
    """Rows whose label (1 = bad) is BAD, unlike in the schema; some cells are empty."""
    draw = random.Random(11)
    for _ in range(ROWS):
        row = {
            "LOAN": draw.randrange(1000, 60_000, 100),
            "REASON": draw.choice([*REASONS, ""]),
            "JOB": draw.choice(JOBS),
            "DEBTINC": "" if draw.random() < 0.2 else round(draw.uniform(5, 60), 1),
            "DELINQ": draw.choice([0, 0, 0, 1, 2, 4]),
            "CLAGE": round(draw.uniform(5, 400), 1),
        }
        debt = 48 if row["DEBTINC"] == "" else row["DEBTINC"]
        risk = (debt >= 40) + 1.2 * row["DELINQ"] - row["CLAGE"] / 90 + (row["REASON"] == "")
        risk += 2 * (row["DELINQ"] > 0 and row["CLAGE"] < 180)  # one interaction of two parties
        yield row | {"BAD": int(risk + draw.gauss(0, 0.7) > 0), "note": "not in the schema"}


def tenancy_rows():
    draw = random.Random(12)
    for _ in range(ROWS):
        row = {
            "rent": draw.randrange(200, 2500),
            "permanent": draw.choice(["yes", "no"]),
            "tenure": round(draw.uniform(0, 12), 1),
            "late_rents": draw.choice([0, 0, 1, 2, 4]),
            "savings": draw.randrange(0, 40_000, 50),
        }
        years = row["tenure"] if row["permanent"] == "yes" else 0
        worth = years / 2 + row["savings"] / 9000 - row["rent"] / 600 - row["late_rents"]
        yield row | {"repaid": "yes" if worth + draw.gauss(0, 0.5) > 0 else "no"}


def command(module, *arguments):
    """Run a command without any setting of Triseal; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_files(folder, schema, rows):
    """Write the two files; returns them as arguments of training.train."""
    (folder / "my.json").write_text(json.dumps(schema))
    with (folder / "my.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return ["--schema", folder / "my.json", "--data", folder / "my.csv"]


def in_this_process(module, *arguments):
    """Run a command in this process; training tries only two shapes, which saves most of it.

    Returns its output.
    """
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as printed:
        patched.setattr(training.train, "SHAPES", training.train.SHAPES[1:3])
        assert importlib.import_module(module).main([str(argument) for argument in arguments]) == 0
    return printed.getvalue()


def train_and_compile(folder, schema, rows, target, engines, run=command):
    """Train and compile a deployment; returns its folder and the output of both commands."""
    files = write_files(folder, schema, list(rows))
    named = ["--target", target] if target else []
    trained = run("training.train", *files, *named, "--out", folder / "model", "--no-timing")
    compiled = run(
        "training.compile", "--model", folder / "model", "--out", folder / "compiled",
        "--engines", *engines,
    )  # fmt: skip
    return folder / "compiled", trained, compiled


@pytest.fixture(scope="module")
def two_parties(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_parties")
    engines = ["clear", "levelled"]
    rows = home_equity_rows()
    return train_and_compile(folder, HOME_EQUITY, rows, "BAD", engines, in_this_process)


@pytest.fixture(scope="module")
def four_parties(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four_parties")
    return train_and_compile(folder, TENANCY, tenancy_rows(), None, ["clear"], in_this_process)


@pytest.fixture(scope="module")
def clear_connection(four_parties, tmp_path_factory):
    server = started(tmp_path_factory.mktemp("server"), four_parties[0], "clear")
    made = server.connect(tmp_path_factory.mktemp("parties"))
    yield made
    made.client.close()
    server.stop()


def whole_application(connection, oracle, record):
    session = ApplicationSession.open(connection)
    session.make_keys()
    sent = [session.send(p, oracle.of(p, record)) for p in oracle.schema.party_names]
    session.run()
    return sent, session.open_decision(), session.explain().explanation


def test_commands_print_the_written_folders(four_parties):
    folder, trained, compiled = four_parties
    version = Deployment.load(folder).manifest.model_version
    assert trained.count("depth") >= 5 and "Chosen:" in trained
    assert f"Compiled clear as model {version}" in compiled


def test_model_learns_the_rule(two_parties):
    metrics = json.loads((two_parties[0] / "metrics.json").read_text())
    assert metrics["test"]["auc"] > 0.85
    assert metrics["data"]["target"] == "BAD" and metrics["data"]["rows"] == ROWS
    labels = [row["BAD"] for row in home_equity_rows()]
    assert metrics["data"]["approved_share"] == pytest.approx(1 - sum(labels) / ROWS)


def test_missing_values_form_their_own_group(two_parties):
    groups = json.loads((two_parties[0] / "metrics.json").read_text())["groups"]["REASON"]
    assert [g["group"] for g in groups] == [*REASONS, "missing"]
    assert sum(g["rows"] for g in groups) == ROWS // 5  # the test part
    card = (two_parties[0] / "model_card.md").read_text()
    assert "| missing |" in card and "Home equity loans" in card


def test_scores_of_many_records_are_exact_under_encryption(two_parties):
    runs = EncryptedRuns("levelled", two_parties[0])
    layout = runs.deployment.layout
    wrong = []
    for bits in layout.bits_of_states(sample_states(layout, 8, seed=3)):
        for program, run in ((DECIDE, runs.decide), (EXPLAIN, runs.explain)):
            opened, expected = run(bits).scores, runs.expected(program, bits)
            wrong += [(program, opened, expected)] if opened != expected else []
    assert wrong == []


@pytest.mark.parametrize("outcome", [Outcome.TURNED, Outcome.NOT_TURNED, Outcome.ALREADY_APPROVED])
def test_four_parties_decide_and_explain(four_parties, clear_connection, outcome):
    oracle = Oracle(four_parties[0])
    record = oracle.find(outcome)
    sent, decision, explanation = whole_application(clear_connection, oracle, record)
    assert [s.party for s in sent] == ["tenant", "employer", "landlord", "bank"]
    assert decision.score == oracle.score(record)
    assert decision.approved is (outcome is Outcome.ALREADY_APPROVED)
    assert explanation == oracle.explanation(record)


def test_texts_use_the_schemas_words(four_parties, clear_connection):
    oracle = Oracle(four_parties[0])
    record = oracle.find(Outcome.TURNED) | {"permanent": False}
    assert oracle.explanation(record).outcome is Outcome.TURNED
    _, _, explanation = whole_application(clear_connection, oracle, record)
    assert re.search(r"at least [136] years there \(being permanent\)", explanation.text)
    assert "likely have granted" in explanation.text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"JOB": "Astronaut"}, "JOB cannot be 'Astronaut'"),
        ({"CLAGE": ""}, "CLAGE is missing"),
        ({"DELINQ": "often"}, "DELINQ cannot be 'often'"),
    ],
)
def test_out_of_domain_cell_error_names_its_column(tmp_path, capsys, change, named):
    rows = list(home_equity_rows())
    rows[0] |= change
    files = write_files(tmp_path, HOME_EQUITY, rows)
    arguments = [*files, "--target", "BAD", "--out", tmp_path / "model", "--no-timing"]
    assert training.train.main([str(argument) for argument in arguments]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
