"""The trees and their file compared with XGBoost 3.x on 24,000 synthetic rows."""

import json

import numpy as np
import pytest
import xgboost
from sklearn.metrics import roc_auc_score

from features.encoding import Layout
from federated.boosting.booster_json import booster_json
from federated.boosting.pooled import pooled
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree, margins, route
from federated.plan import Plan
from model.booster import parse_booster
from training.data import training_frame
from training.frontier import programs_for
from training.import_check import ImportCheck

ROUNDS = 60


@pytest.fixture(scope="module")
def encoded(layout):
    """Return bits and outcomes of rows for training and of held-out ones."""
    frame, y = training_frame(layout.schema, None, None, rows=24_000, seed=20)
    bits = layout.encode_frame(frame)
    held_out = np.random.default_rng(0).random(len(y)) < 0.25
    return (bits[~held_out], y[~held_out]), (bits[held_out], y[held_out])


@pytest.fixture(scope="module", params=[True, False], ids=["monotone", "free"])
def both(request, layout, encoded):
    """Return the plan, our trees and XGBoost's booster on the same rows and parameters."""
    bits, y = encoded[0]
    document = layout.schema.model_dump(mode="json")
    document["explanation"]["monotone"] = request.param
    plan = Plan(schema=document, trees=ROUNDS, validation_share=0)
    run = pooled(plan, {"all": LocalRows.from_bits(plan, bits, y)})
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": plan.depth,
        "learning_rate": plan.learning_rate,
        "reg_lambda": plan.reg_lambda,
        "min_child_weight": max(1, plan.least_rows / 4),
        "base_score": 0.5,
        "nthread": 1,
    }
    if request.param:
        signs = ("1" if bit in plan.monotone else "0" for bit in range(layout.n_bits))
        parameters["monotone_constraints"] = "(" + ",".join(signs) + ")"
    return plan, run, xgboost.train(parameters, xgboost.DMatrix(bits, y), ROUNDS)


def as_states(layout: Layout, bits):
    """Return states (columns, rows), counted within the column."""
    first = np.array([code.first_state for code in layout.codes])
    return np.ascontiguousarray((layout.states(bits) - first).T.astype(np.uint8))


def raw_trees(data: bytes) -> list[dict]:
    return json.loads(data)["learner"]["gradient_booster"]["model"]["trees"]


def splits_of(raw: dict) -> dict[int, int]:
    """Return the bit of each split by the number of its node, the root being 0."""
    found, waiting = {}, [(0, 0)]
    while waiting:
        node, number = waiting.pop()
        if raw["left_children"][node] != -1:
            found[number] = raw["split_indices"][node]
            waiting.append((raw["left_children"][node], 2 * number + 1))
            waiting.append((raw["right_children"][node], 2 * number + 2))
    return found


def test_splits_and_auc_are_those_of_xgboost(both, layout, encoded):
    plan, run, theirs = both
    own = [splits_of(raw) for raw in raw_trees(booster_json(plan, run.trees))]
    expected = [splits_of(raw) for raw in raw_trees(bytes(theirs.save_raw("json")))]
    pairs = [
        (ours.get(node), bit)
        for ours, tree in zip(own[:20], expected[:20], strict=True)
        for node, bit in tree.items()
    ]
    same = sum(a == b for a, b in pairs)
    assert same >= 0.95 * len(pairs) > 100
    bits, y = encoded[1]
    auc = roc_auc_score(y, margins(run.trees, layout, as_states(layout, bits)))
    expected_auc = roc_auc_score(y, theirs.predict(xgboost.DMatrix(bits), output_margin=True))
    print(f"same splits {same} of {len(pairs)}; AUC {auc:.6f}, XGBoost {expected_auc:.6f}")
    assert abs(auc - expected_auc) <= 0.001
    assert expected_auc > 0.75


def test_xgboost_reads_the_file_with_the_same_margins(both, layout, encoded, tmp_path):
    plan, run, _ = both
    file = tmp_path / "booster.json"
    file.write_bytes(booster_json(plan, run.trees))
    bits = encoded[1][0]
    integers = margins(run.trees, layout, as_states(layout, bits))
    assert np.abs(integers).max() < 16 << 20  # exact in float32, as are all partial sums
    read = xgboost.Booster(model_file=str(file))
    predicted = read.predict(xgboost.DMatrix(bits), output_margin=True)
    assert (predicted == (integers / 2**20).astype(np.float32)).all()
    assert read.num_boosted_rounds() == ROUNDS and read.num_features() == layout.n_bits
    read.save_model(tmp_path / "again.json")
    again = raw_trees((tmp_path / "again.json").read_bytes())
    assert [splits_of(t) for t in again] == [splits_of(t) for t in raw_trees(file.read_bytes())]


def test_compiler_reads_the_file_with_the_same_decisions(layout, encoded):
    plan = Plan(schema=layout.schema, trees=12, depth=2, validation_share=0)
    (bits, y), (held_out, _) = encoded
    run = pooled(plan, {"all": LocalRows.from_bits(plan, bits[:4000], y[:4000])})
    data = booster_json(plan, run.trees)
    integers = margins(run.trees, layout, as_states(layout, held_out))
    ensemble = parse_booster(data, layout)
    assert ensemble.base_margin == 0
    assert (ensemble.leaf_values(held_out).sum(axis=1) * 2**20 == integers).all()
    decide = programs_for(data, layout, bits, 10, seconds=1)["decide"]
    check = ImportCheck(data, layout, bits)
    check.check_program(decide)  # every difference lies within the rounding bound
    assert "uses all 12 trees" in check.summary()
    scores = decide.scores(held_out)[:, 0]
    clear = np.abs(integers / 2**20) * decide.scale > decide.rounding_bound + 0.5
    assert clear.mean() > 0.9
    assert ((scores >= 0) == (integers > 0))[clear].all()


def test_a_tree_without_splits_is_one_leaf(layout, tmp_path):
    plan = Plan(schema=layout.schema)
    file = tmp_path / "booster.json"
    file.write_bytes(booster_json(plan, [Tree(root=-(1 << 19))]))
    read = xgboost.Booster(model_file=str(file))
    assert read.predict(
        xgboost.DMatrix(np.zeros((1, layout.n_bits))), output_margin=True
    ).tolist() == [-0.5]
    (only,) = parse_booster(file.read_bytes(), layout).trees
    assert [leaf.value for leaf in only.leaves] == [-0.5]


def groups_from_hessians(raw: dict) -> list[tuple[int, int]]:
    """Return (rows, approved rows) of each leaf of a first tree, as TimberStrike begins.

    All margins are 0 then, so that h = 1/4 and g = 1/2 - y of every row: Σh is a quarter of the
    rows, and the leaf's weight gives Σg.
    """
    found = []
    for node, child in enumerate(raw["left_children"]):
        hessian = raw["sum_hessian"][node]
        if child == -1 and hessian:
            gradient = -raw["split_conditions"][node] / 0.3 * (hessian + 1)
            found.append((round(4 * hessian), round(2 * hessian - gradient)))
    return found


def test_statistics_of_rows_are_not_in_the_file(both, encoded):
    """TimberStrike (arXiv 2506.07605) rebuilds rows from them; control: XGBoost's own file."""
    plan, run, theirs = both
    bits, y = encoded[0]
    raw = raw_trees(bytes(theirs.save_raw("json")))[0]
    rebuilt = groups_from_hessians(raw)
    leaves = xgboost.Booster.predict(theirs, xgboost.DMatrix(bits), pred_leaf=True)[:, 0]
    real = [(int((leaves == n).sum()), int(y[leaves == n].sum())) for n in np.unique(leaves)]
    assert rebuilt == real
    for tree in raw_trees(booster_json(plan, run.trees)):
        assert groups_from_hessians(tree) == []
        assert not any(tree["sum_hessian"]) and not any(tree["loss_changes"])
        inner = [n for n, child in enumerate(tree["left_children"]) if child != -1]
        assert inner and all(tree["base_weights"][n] == 0 for n in inner)
        assert {tree["split_conditions"][n] for n in inner} == {0.5}


def groups_from_a_leaf(value: int, most: int) -> list[tuple[int, int]]:
    """Return all (rows, approved rows) that give a leaf of the first tree this value in 2^-20."""
    found = []
    for rows in range(10, most + 1):
        approved = round((value / 2**20 / 0.3 * (rows + 4) / 2 + rows) / 2)
        if round(0.3 * 2 * (2 * approved - rows) / (rows + 4) * 2**20) == value:
            found.append((rows, approved))
    return found


def test_leaf_values_still_tell_the_groups_of_the_first_tree(layout, encoded):
    """A limit: they are fractions of small integers. A group has at least k rows in all."""
    plan = Plan(schema=layout.schema, trees=1, validation_share=0)
    bits, y = (part[:1000] for part in encoded[0])
    run = pooled(plan, {"all": LocalRows.from_bits(plan, bits, y)})
    states = as_states(layout, bits)
    nodes = np.zeros(1000, np.uint8)
    route(nodes, run.trees[0].splits, layout, states)
    guesses = 0
    for node in np.unique(nodes):
        own = y[nodes == node]
        found = groups_from_a_leaf(run.trees[0].leaf(int(node)), 1000)
        assert (len(own), int(own.sum())) in found
        assert len(own) >= plan.least_rows
        guesses += (len(own), int(own.sum())) in found[:2]
    assert guesses >= 4
