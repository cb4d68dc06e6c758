"""Parsing of XGBoost's JSON: equal margins, and refusal of models that cannot be compiled."""

import copy
import json
import os

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import Schema
from model import booster as module
from model.booster import parse_ensemble, read_ensemble
from tests.strategies import QUICK, log_odds, schemas
from training.models import Shape, Stage, fit, model_json
from training.models import log_odds as xgboost_log_odds
from utils.errors import ModelTooLarge, UnsupportedBooster

SHAPES = [
    Shape("depth 1", (Stage(15, 1),)),
    Shape("depth 2", (Stage(10, 2, learning_rate=0.7),)),
    Shape("depth 3", (Stage(6, 3),)),
    Shape("depth 4", (Stage(4, 4),)),
    Shape("5 leaves", (Stage(8, 4, 5),)),
    Shape("staged", (Stage(10, 1, learning_rate=0.3), Stage(5, 2), Stage(3, 4, 6))),
]


@pytest.fixture
def document(small_booster):
    return json.loads(small_booster)


def random_bits(layout, rows, seed):
    generator = np.random.default_rng(seed)
    states = [
        generator.integers(c.first_state, c.first_state + c.n_states, rows) for c in layout.codes
    ]
    return layout.bits_of_states(np.stack(states, axis=1))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_margins_equal_xgboost(layout, credit_data, shape):
    bits, y = credit_data[0]
    booster = fit(shape, layout, bits, y)
    ensemble = parse_ensemble(json.loads(model_json(booster)), layout)
    rows = np.concatenate([credit_data[1][0], random_bits(layout, 500, 3)])
    assert len(ensemble.trees) == sum(stage.trees for stage in shape.stages)
    np.testing.assert_allclose(
        log_odds(ensemble, rows), xgboost_log_odds(booster, rows), rtol=0, atol=2e-5
    )


@QUICK
@given(schemas(), st.sampled_from(SHAPES), st.integers(0, 1000))
def test_margins_equal_xgboost_on_random_schemas_and_labels(schema: Schema, shape, seed):
    layout = Layout(schema)
    bits = random_bits(layout, 60, seed)
    y = np.random.default_rng(seed).integers(0, 2, len(bits)).astype(np.int8)
    booster = fit(shape, layout, bits, y, seed)
    ensemble = parse_ensemble(json.loads(model_json(booster)), layout)
    fresh = random_bits(layout, 60, seed + 1)
    np.testing.assert_allclose(
        log_odds(ensemble, fresh), xgboost_log_odds(booster, fresh), rtol=0, atol=2e-5
    )


def test_exactly_one_leaf_of_a_tree_holds_for_any_input(layout, document):
    bits = random_bits(layout, 300, 1)
    for tree in parse_ensemble(document, layout).trees:
        holds = [np.all([bits[:, b] == w for b, w in leaf.path], axis=0) for leaf in tree.leaves]
        assert (np.sum(holds, axis=0) == 1).all()


def test_base_score_is_converted_to_log_odds(layout, credit_data):
    bits, y = credit_data[0]
    parameters = {"objective": "binary:logistic", "base_score": 0.8, "max_depth": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(bits, y), 2)
    ensemble = parse_ensemble(json.loads(model_json(booster)), layout)
    assert ensemble.base_margin == pytest.approx(np.log(4), abs=1e-6)
    np.testing.assert_allclose(
        log_odds(ensemble, bits), xgboost_log_odds(booster, bits), rtol=0, atol=2e-5
    )


def test_bracketed_base_score_of_newer_versions_is_read(layout, document):
    parameters = document["learner"]["learner_model_param"]
    parameters["base_score"] = "[5E-1]"
    assert parse_ensemble(document, layout).base_margin == 0.0


def trained(credit_data, trees=2, **parameters):
    bits, y = credit_data[0]
    settings = {"objective": "binary:logistic", "nthread": 1, "max_depth": 2} | parameters
    booster = xgboost.train(settings, xgboost.DMatrix(bits, y), trees)
    return json.loads(model_json(booster))


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"objective": "reg:squarederror"}, "not gbtree with reg:squarederror"),
        ({"objective": "rank:pairwise"}, "not gbtree with rank:pairwise"),
        ({"objective": "multi:softprob", "num_class": 3}, "not gbtree with multi:softprob"),
        ({"booster": "dart", "rate_drop": 1.0}, "not dart with binary:logistic"),
        ({"booster": "gblinear", "max_depth": None}, "gblinear"),
    ],
)
def test_unsupported_model_error_names_its_kind(layout, credit_data, parameters, fault):
    chosen = {k: v for k, v in ({"max_depth": 2} | parameters).items() if v is not None}
    bits, y = credit_data[0]
    booster = xgboost.train({"objective": "binary:logistic"} | chosen, xgboost.DMatrix(bits, y), 2)
    with pytest.raises(UnsupportedBooster, match=fault):
        parse_ensemble(json.loads(model_json(booster)), layout)


def test_trees_with_dropout_weights_are_refused(layout, document):
    """XGBoost 3.4 saves a dart booster as a gbtree; its leaf values without weights are wrong."""
    model = document["learner"]["gradient_booster"]["model"]
    plain = parse_ensemble(document, layout)
    model["weight_drop"] = [1.0] * len(model["trees"])
    assert parse_ensemble(document, layout) == plain
    model["weight_drop"][-1] = 0.5
    with pytest.raises(UnsupportedBooster, match="not dart with binary:logistic"):
        parse_ensemble(document, layout)


def test_feature_count_mismatch_error_names_both_counts(layout, credit_data):
    bits, y = credit_data[0]
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(bits[:, :-1], y), 1)
    with pytest.raises(UnsupportedBooster, match=f"{layout.n_bits - 1} features.*{layout.n_bits}"):
        parse_ensemble(json.loads(model_json(booster)), layout)


def chain(document, bits):
    """Let the first tree test some bits, one after another."""
    count = len(bits)
    nodes = [2 * i for i in range(count)]  # the right child of each test is the next test
    left, right = [-1] * (2 * count + 1), [-1] * (2 * count + 1)
    split, limit = [0] * (2 * count + 1), [0.1] * (2 * count + 1)
    for i, (node, bit) in enumerate(zip(nodes, bits, strict=True)):
        left[node], right[node], split[node], limit[node] = 2 * i + 1, 2 * i + 2, bit, 0.5
    a_tree(document).update(left_children=left, right_children=right, split_indices=split,
                            split_conditions=limit, split_type=[0] * len(left),
                            sum_hessian=[0.0] * len(left))  # fmt: skip


def test_a_path_over_more_than_six_columns_is_refused(layout, document):
    first = [code.first_bit for code in layout.codes]
    chain(document, first[:6])
    leaves = parse_ensemble(document, layout).trees[0].leaves
    assert max(len(leaf.path) for leaf in leaves) == 6
    chain(document, first[:7])
    with pytest.raises(ModelTooLarge, match="max_depth=6"):
        parse_ensemble(document, layout)


def test_all_bits_of_one_column_may_be_tested(layout, document):
    """A split on categories is one test after another of the bits of one column."""
    code = max(layout.codes, key=lambda code: code.n_bits)
    chain(document, range(code.first_bit, code.first_bit + code.n_bits))
    assert len(parse_ensemble(document, layout).trees[0].leaves) == code.n_bits + 1 > 7


def test_more_than_300_trees_are_refused(layout, document):
    trees = document["learner"]["gradient_booster"]["model"]["trees"]
    document["learner"]["attributes"] = {}  # otherwise XGBoost would use the first 12 trees only
    document["learner"]["gradient_booster"]["model"]["trees"] = trees[:1] * 300
    assert len(parse_ensemble(document, layout).trees) == 300
    document["learner"]["gradient_booster"]["model"]["trees"] = trees[:1] * 301
    with pytest.raises(ModelTooLarge, match="301 trees"):
        parse_ensemble(document, layout)


def test_categorical_split_is_refused(layout, document):
    document["learner"]["gradient_booster"]["model"]["trees"][0]["split_type"][0] = 1
    with pytest.raises(UnsupportedBooster, match="splits on categories of its own"):
        parse_ensemble(document, layout)


@pytest.mark.parametrize("base_score", ["0", "1", "-3", "nan", "much"])
def test_base_score_that_is_not_a_probability_is_refused(layout, document, base_score):
    document["learner"]["learner_model_param"]["base_score"] = base_score
    with pytest.raises(UnsupportedBooster):
        parse_ensemble(document, layout)


def a_tree(document):
    return document["learner"]["gradient_booster"]["model"]["trees"][0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("split_indices", 100_000),
        ("split_indices", -1),
        ("left_children", 100_000),
        ("left_children", -5),
        ("right_children", -1),
        ("left_children", "x"),
        ("split_conditions", None),
    ],
)
def test_inconsistent_tree_is_refused(layout, document, field, value):
    a_tree(document)[field][0] = value
    with pytest.raises(UnsupportedBooster, match="is invalid"):
        parse_ensemble(document, layout)


def test_cyclic_tree_is_refused(layout, document):
    a_tree(document)["left_children"][1:3] = [1, 1]
    a_tree(document)["right_children"][1:3] = [1, 1]
    with pytest.raises((ModelTooLarge, UnsupportedBooster)):
        parse_ensemble(document, layout)


def test_a_bit_tested_twice_reaches_consistent_leaves_only(layout, document):
    """XGBoost does not grow such trees, but its format allows them."""
    a_tree(document).update(
        left_children=[1, 3, -1, -1, -1],
        right_children=[2, 4, -1, -1, -1],
        split_indices=[7, 7, 0, 0, 0],
        split_conditions=[0.5, 0.5, 0.2, -0.3, 9.0],
    )
    leaves = parse_ensemble(document, layout).trees[0].leaves
    assert {(leaf.path, leaf.value) for leaf in leaves} == {
        (((7, False),), -0.3),
        (((7, True),), 0.2),
    }


def test_multi_class_booster_is_refused_for_any_objective(layout, document):
    document["learner"]["learner_model_param"]["num_class"] = "3"
    with pytest.raises(UnsupportedBooster):
        parse_ensemble(document, layout)


def test_a_leaf_that_is_not_finite_is_refused(layout, document):
    tree = a_tree(document)
    tree["split_conditions"][tree["left_children"].index(-1)] = float("inf")
    with pytest.raises(UnsupportedBooster, match="not a finite number"):
        parse_ensemble(document, layout)


@QUICK
@given(st.data())
def test_damaged_document_is_refused_or_gives_complete_ensemble(layout, small_booster, data):
    document = json.loads(small_booster)
    junk = st.none() | st.integers(-3, 400) | st.just(1e300) | st.text(max_size=3) | st.just([])
    place = document["learner"]
    while True:  # walk down to a random place
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or not data.draw(st.integers(0, 3)):
            break
        place = inner
    place[key] = data.draw(junk)
    try:
        ensemble = parse_ensemble(document, layout)
    except (UnsupportedBooster, ModelTooLarge) as error:
        assert error.message
    else:
        paths = [leaf.path for tree in ensemble.trees for leaf in tree.leaves]
        assert all(0 <= bit < layout.n_bits for path in paths for bit, _ in path)


@pytest.mark.parametrize("field", ["learner", "objective", "gradient_booster", "num_feature"])
def test_incomplete_document_is_refused(layout, document, field):
    stripped = copy.deepcopy(document)
    for place in (stripped, stripped["learner"], stripped["learner"]["learner_model_param"]):
        place.pop(field, None)
    with pytest.raises(UnsupportedBooster, match="lacks"):
        parse_ensemble(stripped, layout)


def test_file_and_document_give_the_same_ensemble(tmp_path, layout, small_booster):
    path = tmp_path / "booster.json"
    path.write_bytes(small_booster)
    assert read_ensemble(path, layout) == parse_ensemble(json.loads(small_booster), layout)


@QUICK
@given(st.binary(max_size=60))
def test_random_bytes_are_refused(tmp_path_factory, layout, content):
    path = tmp_path_factory.mktemp("random") / "booster.json"
    path.write_bytes(content)
    with pytest.raises(UnsupportedBooster):
        read_ensemble(path, layout)


def test_binary_deeply_nested_and_missing_files_are_refused(tmp_path, layout, credit_data):
    bits, y = credit_data[0]
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(bits, y), 1)
    (tmp_path / "ubj").write_bytes(bytes(booster.save_raw("ubj")))
    (tmp_path / "nest").write_bytes(b"[" * 200_000)
    for name in ("ubj", "nest", "missing"):
        with pytest.raises(UnsupportedBooster, match="save_model"):
            read_ensemble(tmp_path / name, layout)


def test_huge_file_is_refused_without_reading(tmp_path, layout):
    path = tmp_path / "booster.json"
    path.touch()
    os.truncate(path, module.MAXIMUM_BYTES + 1)
    with pytest.raises(ModelTooLarge, match="larger than 64 MiB"):
        read_ensemble(path, layout)
