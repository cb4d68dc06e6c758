"""From a finished training by several lenders to a model folder and to compiled programs."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from engines.deployment import Deployment
from features.encoding import Layout
from features.records import read_records
from features.schema import Schema
from federated.boosting.booster_json import booster_json
from federated.boosting.rows import LocalRows
from federated.boosting.trees import margins
from federated.plan import Plan
from tests.federated.protocol.network import Network
from training import federated
from training.compile import compile_deployment, training_rows
from training.datasets import write_synthetic_german
from training.federated_demo.lenders import SCHEMA
from training.held_out import held_out
from utils.errors import RecordInvalid, TrainingDataInvalid, TrainingUnfinished, TrisealError

LENDERS = ("coast", "north", "west")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the agent's folder of a finished training, its network, and the lenders' files."""
    folder = tmp_path_factory.mktemp("trained")
    files = {name: folder / f"{name}.csv" for name in LENDERS}
    for region, path in enumerate(files.values()):
        write_synthetic_german(path, 500 + 200 * region, 7, region)
    schema = Schema.load(SCHEMA)
    plan = Plan(schema=schema, trees=6, depth=2, seed=5)
    records = {name: read_records(path, plan.layout) for name, path in files.items()}
    network = Network(plan, {name: (own.states, own.outcomes) for name, own in records.items()})
    network.run()
    home = folder / "agent"
    home.mkdir()
    (home / "record.json").write_text(network.record().model_dump_json(indent=2))
    (home / "booster.json").write_bytes(booster_json(plan, network.coordinator.trees))
    return home, network, files


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    """Return the model folder, made from north's rows."""
    home, _, files = trained
    out = tmp_path_factory.mktemp("made") / "model"
    data = ["--run", str(home), "--data", str(files["north"]), "--out", str(out)]
    assert federated.main(data) == 0
    return out


def own_states(layout, bits):
    first = np.array([code.first_state for code in layout.codes])
    return np.ascontiguousarray((layout.states(bits) - first).T.astype(np.uint8))


def test_compiled_programs_decide_as_the_lenders_trees(trained, model, tmp_path):
    home, network, files = trained
    compile_deployment(model, tmp_path / "deployment", ["clear"])
    deployment = Deployment.load(tmp_path / "deployment")
    layout = deployment.layout
    assert (model / "booster.json").read_bytes() == (home / "booster.json").read_bytes()
    records = read_records(files["west"], layout)
    states = np.ascontiguousarray(records.states.T)
    exact = margins(network.coordinator.trees, layout, states) / 2**20
    first = np.array([code.first_state for code in layout.codes])
    program = deployment.programs["decide"]
    scores = program.scores(layout.bits_of_states(records.states + first))[:, 0]
    clear = np.abs(exact) * program.scale > program.rounding_bound + 0.5
    assert clear.mean() > 0.8 and 0 < (exact > 0).mean() < 1
    assert ((scores >= 0) == (exact > 0))[clear].all()

    card = (tmp_path / "deployment" / "model_card.md").read_text()
    digest = hashlib.sha256((home / "record.json").read_bytes()).hexdigest()
    assert digest in card and "trained by 3 lenders together" in card
    assert all(f"| {name} | 6 |" in card for name in LENDERS)
    assert "frontier.png" not in card

    rows = held_out(deployment, [files["north"]])
    assert rows.y is not None and rows.source == "held-out rows"
    metrics = json.loads((model / "metrics.json").read_text())
    assert len(rows.y) == metrics["test"]["rows"]


def test_rows_that_measure_the_model_are_those_that_no_lender_trains_on(trained, model):
    _, network, files = trained
    layout = Layout(network.plan.schema_)
    calibration, _ = training_rows(model, layout)
    records = read_records(files["north"], layout)
    rows = LocalRows(network.plan, records.states, records.outcomes)
    metrics = json.loads((model / "metrics.json").read_text())
    assert (len(calibration), metrics["test"]["rows"]) == (rows.n_training, rows.n_validation)
    own = federated.read_own_rows(files["north"], network.record())
    keys = [np.column_stack([own.bits, own.y])[part] for part in (own.held_out, ~own.held_out)]
    measured, used = ({row.tobytes() for row in part} for part in keys)
    assert measured.isdisjoint(used)


def test_without_validation_rows_the_card_says_that_the_rows_may_be_known(
    trained, tmp_path, capsys
):
    home, network, files = trained
    record = network.record()
    plan = record.plan.model_copy(update={"validation_share": 0.0})
    folder = copied(home, tmp_path)
    text = record.model_copy(update={"plan": plan}).model_dump_json()
    (folder / "record.json").write_text(text)
    out = tmp_path / "model"
    command = ["--run", str(folder), "--data", str(files["coast"]), "--out", str(out)]
    assert federated.main(command) == 0, capsys.readouterr().err
    compile_deployment(out, tmp_path / "deployment", ["clear"])
    card = (tmp_path / "deployment" / "model_card.md").read_text()
    assert "all measure the model, and any of them may have been trained on" in card


def copied(home, tmp_path):
    return shutil.copytree(home, tmp_path / "copy")


def without(name):
    return lambda folder: (folder / name).unlink()


def replaced(name, text):
    return lambda folder: (folder / name).write_text(text)


def one_tree_fewer(folder):
    document = json.loads((folder / "record.json").read_text())
    document["kept"] -= 1
    (folder / "record.json").write_text(json.dumps(document))


def other_version(folder):
    document = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(document | {"version": 2}))


def a_folder(folder):
    (folder / "record.json").unlink()
    (folder / "record.json").mkdir()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (without("record.json"), TrainingUnfinished),
        (without("booster.json"), TrainingUnfinished),
        (replaced("record.json", "{"), RecordInvalid),
        (replaced("booster.json", "{"), TrisealError),
        (one_tree_fewer, RecordInvalid),
        (other_version, RecordInvalid),
        (a_folder, RecordInvalid),
    ],
)
def test_damaged_trainings_are_refused(trained, tmp_path, change, error):
    folder = copied(trained[0], tmp_path)
    change(folder)
    with pytest.raises(error):
        federated.read_run(folder)


def test_large_files_are_refused_unread(trained, tmp_path, monkeypatch):
    folder = copied(trained[0], tmp_path)
    monkeypatch.setattr(federated, "MOST_BYTES", 100)
    with pytest.raises(RecordInvalid, match="not a file of at most"):
        federated.read_run(folder)


@pytest.mark.parametrize("keep", ["few", "one outcome"])
def test_rows_that_cannot_measure_the_model_are_refused(trained, tmp_path, keep):
    _, network, files = trained
    header, *lines = files["west"].read_text().splitlines()
    chosen = lines[:60] if keep == "few" else [line for line in lines if line.endswith(",1")]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, *chosen]) + "\n")
    with pytest.raises(TrainingDataInvalid, match="Give more rows, with both outcomes"):
        federated.read_own_rows(path, network.record())


def test_a_foreign_folder_is_not_changed_and_the_command_says_so(trained, tmp_path, capsys):
    home, _, files = trained
    (tmp_path / "thesis.txt").write_text("own work")
    command = ["--run", str(home), "--data", str(files["west"]), "--out", str(tmp_path)]
    assert federated.main(command) == 1
    assert "--out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
