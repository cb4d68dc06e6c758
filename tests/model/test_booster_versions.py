"""Model files of XGBoost 1.6, 2.1 and 3.2 give the log-odds that those versions predict.

`boosters/make_boosters.py` wrote the files and recorded the log-odds that the same version's
`XGBClassifier` predicts for every row of the seven bits.
"""

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from features.encoding import Layout
from features.schema import Schema
from model.booster import parse_ensemble, read_ensemble
from model.booster_header import decode_booster, read_header
from training.library import LibraryModel
from utils.errors import ModelTooLarge, UnsupportedBooster

FOLDER = Path(__file__).parent / "boosters"
SCHEMA = json.loads((FOLDER / "schema.json").read_text())
ROWS = np.array(list(itertools.product([0, 1], repeat=7)), np.uint8)
VERSIONS = ["1.6.2", "2.1.4", "3.2.0", "3.4.1"]
DENSE = ["plain", "exact", "base_score", "early_stopped", "forest", "early_stopped_forest"]
SPARSE = ["sparse", "sparse_exact"]

version = pytest.mark.parametrize("version", VERSIONS)


def layout_for(kind):
    return Layout(Schema.parse(SCHEMA | {"zero_is_missing": kind in SPARSE}))


def log_odds(ensemble, rows=ROWS):
    return ensemble.base_margin + ensemble.leaf_values(rows).sum(axis=1)


def recorded(version, kind):
    return np.array(json.loads((FOLDER / version / "margins.json").read_text())[kind])


@pytest.fixture
def early_stopped():
    return json.loads((FOLDER / "3.2.0" / "early_stopped_forest.json").read_text())


@version
@pytest.mark.parametrize("kind", DENSE + SPARSE)
def test_log_odds_equal_those_of_the_writing_version(version, kind):
    ensemble = read_ensemble(FOLDER / version / f"{kind}.json", layout_for(kind))
    np.testing.assert_allclose(log_odds(ensemble), recorded(version, kind), rtol=0, atol=2e-6)


@version
@pytest.mark.parametrize("kind", DENSE + SPARSE)
def test_installed_library_agrees_with_every_writing_version(version, kind):
    """XGBoost 1.6 reads a base_score of 3.2 as 0.5, and Booster.predict uses all trees."""
    data = (FOLDER / version / f"{kind}.json").read_bytes()
    library = LibraryModel(data, layout_for(kind).schema)
    np.testing.assert_allclose(library.log_odds(ROWS), recorded(version, kind), rtol=0, atol=2e-6)


@version
@pytest.mark.parametrize("kind", ["early_stopped", "early_stopped_forest"])
def test_early_stopping_excludes_trees_that_would_change_decisions(version, kind):
    document = json.loads((FOLDER / version / f"{kind}.json").read_text())
    header = read_header(document)
    assert header.used < header.trees
    assert len(parse_ensemble(document, layout_for(kind)).trees) == header.used
    document["learner"]["attributes"] = {}
    every_tree = parse_ensemble(document, layout_for(kind))
    assert len(every_tree.trees) == header.trees
    assert ((log_odds(every_tree) > 0) != (recorded(version, kind) > 0)).any()


@version
@pytest.mark.parametrize("kind", SPARSE)
def test_undecidable_split_error_names_its_column(version, kind):
    with pytest.raises(
        UnsupportedBooster, match=r"column Income on bit 0 \(Income >= 50\)"
    ) as found:
        read_ensemble(FOLDER / version / f"{kind}.json", layout_for("dense"))
    assert "zero_is_missing" in found.value.message


@version
def test_sparse_booster_would_decide_all_dense_rows_equally(version):
    """Without the refusal, every row would get the same decision."""
    data = (FOLDER / version / "sparse.json").read_bytes()
    dense = LibraryModel(data, layout_for("dense").schema).log_odds(ROWS)
    assert len(set(dense.tolist())) == 1
    assert len(set((recorded(version, "sparse") > 0).tolist())) == 2


REFUSED = {
    "multi_class": r"multi:softprob, which is multi-class \(num_class 3\)",
    "two_classes_softprob": r"multi:softprob, which is multi-class \(num_class 2\)",
    "several_outputs": r"several outputs \(num_target 2\)",
    "several_outputs_a_tree": r"several outputs \(num_target 2\)",
    "dart": "not dart with binary:logistic",
    "linear": "not gblinear with binary:logistic",
    "regression": "not gbtree with reg:squarederror",
    "categories": "splits on categories of its own",
}


@pytest.mark.parametrize(
    "path",
    [p for k in REFUSED for p in sorted(FOLDER.glob(f"*/{k}.json"))],
    ids=lambda p: str(p)[-34:],
)
def test_unsupported_model_error_names_its_kind(path):
    with pytest.raises(UnsupportedBooster, match=REFUSED[path.stem]):
        read_ensemble(path, layout_for("dense"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda learner, model: model["tree_info"].__setitem__(1, 1),
            "tree_info names several groups of trees",
        ),
        (
            lambda learner, model: model["trees"][0]["tree_param"].update(size_leaf_vector="2"),
            "multi_output_tree, 2 values per leaf",
        ),
        (
            lambda learner, model: learner["learner_model_param"].update(base_score="[0.5,6E-1]"),
            "a base_score for each of 2 outputs",
        ),
    ],
)
def test_multiple_outputs_are_refused_in_every_file_format(early_stopped, change, fault):
    learner = early_stopped["learner"]
    change(learner, learner["gradient_booster"]["model"])
    with pytest.raises(UnsupportedBooster, match=rf"several outputs \({fault}"):
        read_header(early_stopped)


@pytest.mark.parametrize("form", ["6.35E-1", "[6.35E-1]", " [0.635] ", 0.635, [0.635], ["6.35E-1"]])
def test_every_base_score_format_gives_the_same_number(early_stopped, form):
    early_stopped["learner"]["learner_model_param"]["base_score"] = form
    expected = recorded("3.2.0", "early_stopped_forest")
    ensemble = parse_ensemble(early_stopped, layout_for("dense"))
    library = LibraryModel(json.dumps(early_stopped).encode(), Schema.parse(SCHEMA))
    np.testing.assert_allclose(log_odds(ensemble), expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(library.log_odds(ROWS), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", [None, "", "[]", "auto", "[auto]", [], {}])
def test_non_numeric_base_score_error_quotes_it(early_stopped, form):
    early_stopped["learner"]["learner_model_param"]["base_score"] = form
    with pytest.raises(UnsupportedBooster, match="base_score"):
        read_header(early_stopped)


@pytest.mark.parametrize("best", ["-1", "-5", "13000", "x", None])
def test_best_iteration_beyond_the_trees_is_refused(early_stopped, best):
    early_stopped["learner"]["attributes"]["best_iteration"] = best
    with pytest.raises(UnsupportedBooster):
        read_header(early_stopped)


def test_boosting_rounds_are_found_with_and_without_iteration_indptr(early_stopped):
    expected = read_header(early_stopped)
    assert expected.used == 3 * expected.iterations
    del early_stopped["learner"]["gradient_booster"]["model"]["iteration_indptr"]
    assert read_header(early_stopped) == expected


def test_best_ntree_limit_is_used_without_best_iteration(early_stopped):
    attributes = early_stopped["learner"]["attributes"]
    expected = read_header(early_stopped)
    attributes.clear()
    attributes["best_ntree_limit"] = str(expected.used)
    assert read_header(early_stopped) == expected
    attributes["best_ntree_limit"] = str(expected.used + 1)  # within a round of three trees
    with pytest.raises(UnsupportedBooster, match="best_ntree_limit"):
        read_header(early_stopped)


def test_tree_limit_counts_only_the_used_trees(early_stopped):
    model = early_stopped["learner"]["gradient_booster"]["model"]
    rounds = 1000
    model["trees"] = (model["trees"] * 100)[: 3 * rounds]
    model["iteration_indptr"] = list(range(0, 3 * rounds + 1, 3))
    used = read_header(early_stopped).used
    assert len(parse_ensemble(early_stopped, layout_for("dense")).trees) == used
    early_stopped["learner"]["attributes"] = {}
    with pytest.raises(ModelTooLarge, match=f"{len(model['trees'])} trees"):
        parse_ensemble(early_stopped, layout_for("dense"))


@pytest.mark.parametrize(
    ("limit", "fits"),
    [
        (1.0, True),
        (0.5, True),
        (1e-30, True),
        (1.00000001, True),  # 1 in single precision
        (1.0000001, False),
        (0.0, False),
        (1e-60, False),  # 0 in single precision
        (-0.5, False),
        (1e300, False),
        (float("inf"), False),
        (float("nan"), False),
    ],
)
def test_split_limit_is_compared_in_single_precision(limit, fits):
    document = json.loads((FOLDER / "1.6.2" / "plain.json").read_text())
    expected = log_odds(parse_ensemble(copy.deepcopy(document), layout_for("dense")))
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    assert tree["left_children"][0] != -1
    tree["split_conditions"][0] = limit
    if fits:
        np.testing.assert_array_equal(
            log_odds(parse_ensemble(document, layout_for("dense"))), expected
        )
    else:
        with pytest.raises(UnsupportedBooster):
            parse_ensemble(document, layout_for("dense"))


def test_reordered_feature_names_are_refused(early_stopped):
    layout = layout_for("dense")
    names = [layout.bit_name(bit) for bit in range(layout.n_bits)]
    early_stopped["learner"]["feature_names"] = names
    assert parse_ensemble(early_stopped, layout).trees
    early_stopped["learner"]["feature_names"] = names[::-1]
    with pytest.raises(UnsupportedBooster, match=r"feature 0 is called 'Own is true'.*bit 6"):
        parse_ensemble(early_stopped, layout)


def test_unreadable_file_error_names_both_xgboost_versions(early_stopped):
    for tree in early_stopped["learner"]["gradient_booster"]["model"]["trees"]:
        del tree["tree_param"]
    assert parse_ensemble(early_stopped, layout_for("dense")).trees
    with pytest.raises(UnsupportedBooster, match=r"written by XGBoost 3\.2\.0, and the installed"):
        LibraryModel(json.dumps(early_stopped).encode(), Schema.parse(SCHEMA))


@pytest.mark.parametrize("data", [b"", b"{L\x00\x00\x00\xef", b"[" * 200_000, b"[]", b"7", b"\xff"])
def test_unknown_format_is_refused_with_advice(data):
    with pytest.raises(UnsupportedBooster, match="save_model"):
        decode_booster(data)
