"""Models that were trained elsewhere on raw columns: equal decisions, and refusals."""

import importlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import skops.io
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from features.schema import Schema
from settings import ROOT
from tests.training.imported_models import SCHEMA, SOURCES, as_given, by_name, rows, schema, trained
from training.compile import compile_deployment
from training.encrypted_runs import EncryptedRuns
from training.frontier import programs_for
from training.imported.command import import_model
from training.imported.comparison import domain_frame
from training.imported.cut_points import cut_points, merge
from training.imported.ensemble import NumericSplit
from training.imported.features import bind, raw_rows
from training.imported.source_file import parse_source
from utils.errors import ImportRefused, ModelTooLarge, TrisealError, UnsupportedBooster

RAW_HMEQ = ROOT.parent / "shared" / "failing" / "data" / "66_booster_raw" / "booster.json"
main = importlib.import_module("training.import").main


def import_source(source, **options):
    return import_model(parse_source(trained(source)[0]), schema(), **options)


def our_log_odds(found, bits):
    return found.ensemble.base_margin + found.ensemble.leaf_values(bits).sum(axis=1)


@pytest.mark.parametrize("source", SOURCES)
def test_decisions_equal_those_of_the_library(source):
    content, predict = trained(source)
    model, own = parse_source(content), schema()
    found = import_model(model, own)
    drawn = domain_frame(found.layout, seed=3)
    theirs = np.asarray(predict(as_given(drawn)), np.float64)
    walked = model.log_odds(raw_rows(drawn, bind(model, own, []), len(model.features)))
    np.testing.assert_allclose(walked, theirs, rtol=0, atol=2e-6)
    ours = our_log_odds(found, found.layout.encode_frame(drawn))
    np.testing.assert_allclose(ours, -theirs, rtol=0, atol=4e-6)  # class 1 is bad
    clear = np.abs(theirs) > 1e-5
    np.testing.assert_array_equal((ours > 0)[clear], (theirs < 0)[clear])
    assert clear.mean() > 0.99 and 0.05 < (ours > 0).mean() < 0.95
    assert found.domain.changed == 0


@pytest.mark.parametrize("source", ["xgboost", "lightgbm text", "histogram", "classic"])
def test_numbers_next_to_every_threshold_go_the_same_way(source):
    """One unit in the last place below and above, in single and in double precision."""
    content, predict = trained(source)
    own, model = schema(), parse_source(content)
    found = import_model(model, own)
    tested = 0
    for name, header in (("Balance", "Balance"), ("Income", "monthly income")):
        limits = {
            split.limit
            for split in model.splits()
            if isinstance(split, NumericSplit)
            and model.features[split.feature].name.replace("_", " ") == header
        }
        near = [f(x) for x in limits for f in (float, *NEIGHBOURS)]
        if not limits:  # the model does not have this column
            continue
        column = own.column(name)
        near = [x for x in near if column.minimum <= x <= column.maximum]
        frame = domain_frame(found.layout, seed=4, rows=len(near)).assign(**{name: near})
        ours = our_log_odds(found, found.layout.encode_frame(frame))
        np.testing.assert_allclose(ours, -predict(as_given(frame)), rtol=0, atol=4e-6)
        tested += len(limits)
    assert tested > 2


NEIGHBOURS = [
    lambda x: float(np.nextafter(np.float32(x), np.float32(np.inf))),
    lambda x: float(np.nextafter(np.float32(x), np.float32(-np.inf))),
    lambda x: float(np.nextafter(x, np.inf)),
    lambda x: float(np.nextafter(x, -np.inf)),
    lambda x: float(f"{x:.7g}"),
]

splits = st.builds(
    NumericSplit,
    feature=st.just(0),
    limit=st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 0.1, 1e-40, -1e-35, 2.5]),
    inclusive=st.booleans(),
    single=st.booleans(),
    missing_left=st.booleans(),
    zero_missing=st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(splits, st.floats(-1e6, 1e6))
def test_the_flips_of_a_split_describe_it_completely(split, number):
    flips = np.array(split.flips())
    start = split.left(np.array([-1e300]))[0]
    near = [number, split.limit, *flips, *np.nextafter(flips, -np.inf), -0.0, 0.0, 1e-36, -1e-36]
    near += [float(np.float32(number)), np.nextafter(split.limit, 1e9)]
    passed = (np.array(near)[:, None] >= flips[None, :]).sum(axis=1)
    np.testing.assert_array_equal(split.left(np.array(near)), start ^ (passed % 2 == 1))


def column_of(**changes):
    document = {"name": "x", "kind": "ordinal", "label": "x", "minimum": -10, "maximum": 10}
    return Schema.parse(
        {
            "name": "s",
            "title": "s",
            "parties": [
                {"name": "a", "label": "a", "columns": [document | {"cuts": [5]} | changes]},
                {"name": "b", "label": "b", "columns": [{"name": "y", "kind": "boolean",
                                                         "label": "y"}]},
            ],
            "decision": {"target": "z"},
        }
    ).column("x")  # fmt: skip


def numeric(limit, inclusive, single):
    return NumericSplit(0, limit, inclusive, single, True)


def test_cut_points_are_readable_where_that_changes_nothing():
    single = float(np.float32(0.3))
    below, data = numeric(single, False, True), np.array([0.1, 0.2, 0.3, np.nan])
    assert cut_points(column_of(), [below], data, None).cuts == (0.3,)
    exact = cut_points(column_of(), [below], None, None).cuts[0]
    assert np.float32(exact) == np.float32(0.3) > np.float32(np.nextafter(exact, 0))
    between = (exact + 0.3) / 2  # a number of the data that rounding would move
    assert exact < between < 0.3
    assert cut_points(column_of(), [below], np.array([between]), None).cuts == (exact,)
    halves = [numeric(2.5, True, False), numeric(2.9, True, False), numeric(3.0, False, True)]
    found = cut_points(column_of(integer=True), halves, None, None)
    assert found.cuts == (3.0,)
    assert set(found.place.values()) == {0}
    outside = [numeric(limit, True, False) for limit in (-10.5, 10.0, 700.0)]
    assert cut_points(column_of(), outside, None, None).cuts == (5,)  # the schema's own


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=80), st.integers(1, 20), st.data())
def test_merging_keeps_the_order_and_the_number_of_groups(uses, most, data):
    positions = np.sort(data.draw(st.lists(st.floats(0, 1), min_size=len(uses),
                                           max_size=len(uses))))  # fmt: skip
    kept = merge(uses, positions, most)
    assert len(set(kept.tolist())) == min(most, len(uses))
    assert (np.diff(kept) >= 0).all()
    assert all(kept[head] == head for head in set(kept.tolist()))


def test_data_measures_the_model_and_chooses_the_cuts():
    frame, bad = rows()
    found = import_source("xgboost", frame=by_name(frame), y=(1 - bad).astype(np.int8))
    assert found.data.changed == 0 and found.data.outside == 0 and found.data.rows == len(frame)
    assert found.data.auc == pytest.approx(found.data.source_auc, abs=1e-6) and found.data.auc > 0.8
    cuts = found.cuts["Income"].cuts
    assert all(len(f"{cut!r}") <= 9 for cut in cuts), "the income is in cents"


def test_values_beyond_the_schema_are_not_compared():
    frame, bad = rows()
    wide = by_name(frame).assign(Balance=np.where(np.arange(600) < 7, 70.0, 1.0))
    found = import_source("histogram", frame=wide, y=(1 - bad).astype(np.int8))
    assert found.data.outside == 7 and found.data.changed == 0


def test_many_bins_need_coarsening_which_states_its_loss():
    import lightgbm

    frame, bad = rows()
    model = lightgbm.LGBMClassifier(
        n_estimators=60, max_depth=2, verbose=-1, num_threads=1, learning_rate=0.8,
        min_child_samples=2,
    ).fit(frame[["Age"]].assign(Income=frame["monthly income"]), bad)  # fmt: skip
    source = parse_source(model.booster_.model_to_string().encode())
    data = {"frame": by_name(frame), "y": (1 - bad).astype(np.int8)}
    with pytest.raises(ModelTooLarge, match=r"Income \(\d+\).*--coarsen"):
        import_model(source, schema(), **data)
    losses = []
    for most in (16, 64):
        found = import_model(source, schema(), coarsen=most, **data)
        assert max(len(own.cuts) for own in found.cuts.values()) == most - 1
        assert found.cuts["Income"].merged > 0
        losses.append(found.data.source_auc - found.data.auc)
        assert found.domain.changed > 0
    assert abs(losses[1]) < abs(losses[0]) < 0.2


def test_grouped_texts_must_not_be_told_apart_by_the_model():
    document = json.loads(json.dumps(SCHEMA))
    job = document["parties"][0]["columns"][1]
    job |= {
        "values": ["craft", "clerk", "nurse", "farmer"],
        "groups": {"craft": ["smith", "tailor"]},
    }
    grouped = schema(parties=document["parties"])
    with pytest.raises(ImportRefused, match="groups texts of Job as craft"):
        import_model(parse_source(trained("xgboost one-hot")[0]), grouped)


def test_the_meaning_of_class_1_is_found_or_asked_for():
    model = parse_source(trained("classic")[0])
    texts = {"decision": {"target": "Bad", "approved_value": "good"}}
    with pytest.raises(ImportRefused, match="--positive"):
        import_model(model, schema(**texts))
    one = import_model(model, schema(**texts), positive="approved")
    other = import_model(model, schema())
    bits = one.layout.encode_frame(domain_frame(one.layout, 1))
    np.testing.assert_allclose(our_log_odds(one, bits), -our_log_odds(other, bits), atol=4e-6)


def test_trees_of_more_than_four_columns_give_programs_that_load():
    """Monomials of five bits have tables of 32 cells, beyond the 16 of Concrete's tables."""
    frame, bad = rows()
    numbers = frame.assign(Job=frame["Job"].cat.codes.astype(float))
    booster = xgboost.XGBClassifier(n_estimators=2, max_depth=6, n_jobs=1).fit(numbers, bad)
    parties = json.loads(json.dumps(SCHEMA["parties"]))
    job = {"minimum": -1, "maximum": 4, "integer": True, "kind": "ordinal"}
    parties[0]["columns"][1] = {"name": "Job", "label": "Job"} | job
    found = import_model(
        parse_source(bytes(booster.get_booster().save_raw("json"))), schema(parties=parties)
    )
    decide = programs_for(found.booster, found.layout, found.bits, 12, 0.1)["decide"]
    assert max(len(monomial) for monomial in decide.polynomial) == 5
    assert max(len(lookup.values) for lookup in decide.plan.lookups) == 32
    decide.check(found.layout)
    same = (decide.scores(found.bits)[:, 0] >= 0) == (our_log_odds(found, found.bits) > 0)
    assert same.mean() > 0.99


def test_a_class_that_means_the_other_decision_is_noticed_in_the_data():
    frame, bad = rows()
    model, data = parse_source(trained("xgboost")[0]), (by_name(frame), bad.astype(np.int8))
    with pytest.raises(ImportRefused, match=r"AUC of 0.*--positive"):
        import_model(model, schema(), *data)
    assert import_model(model, schema(), *data, positive="denied").data.auc < 0.5


def test_a_file_without_names_is_read_by_the_order_and_says_so():
    """Files of XGBoost before 3.1 do not name categories, and arrays have no feature names."""

    def unnamed(learner):
        learner["feature_names"] = []
        learner["gradient_booster"]["model"]["cats"] = {"enc": []}

    model = parse_source(xgboost_document(unnamed))
    found, named = import_model(model, schema()), import_source("xgboost")
    assert found.booster == named.booster
    assert "numbers the categories of Job" in "".join(found.notes)
    parties = json.loads(json.dumps(SCHEMA["parties"]))
    parties[1]["columns"].append({"name": "more", "kind": "boolean", "label": "more"})
    with pytest.raises(ImportRefused, match="names no features and has 5 of them"):
        import_model(model, schema(parties=parties))


# Refusals


def changed_skops(content, change):
    """Return a skops file whose listing is changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                listing = json.loads(data)
                change(listing)
                data = json.dumps(listing).encode()
            new.writestr(name, data)
    return out.getvalue()


class Loud:
    """An object of a type that no estimator has; making one is recorded."""

    made = 0

    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        Loud.made += 1
        self.__dict__.update(state)


def test_a_skops_file_with_an_unlisted_type_is_refused_before_it_is_loaded():
    frame, bad = rows()
    model = GradientBoostingClassifier(n_estimators=2).fit(frame[["Age", "Balance"]], bad)
    assert len(parse_source(skops.io.dumps(model)).trees) == 2  # the control
    model.extra = Loud()
    content = skops.io.dumps(model)
    with pytest.raises(ImportRefused, match=r"Loud.*Nothing of it was loaded"):
        parse_source(content)
    assert Loud.made == 0
    skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    assert Loud.made == 1  # the control: loading it would have run its code


@pytest.mark.parametrize(
    ("module", "name", "loader"),
    [
        ("os", "system", "FunctionNode"),
        ("builtins", "eval", "FunctionNode"),
        ("operator", "methodcaller", "OperatorFuncNode"),
        ("sklearn.ensemble._gb", "GradientBoostingClassifier", "MethodNode"),
        ("numpy", "load", "FunctionNode"),
    ],
)
def test_a_skops_listing_with_another_type_or_loader_is_refused(module, name, loader):
    part = {"__module__": module, "__class__": name, "__loader__": loader, "content": {}}
    content = changed_skops(
        trained("classic")[0], lambda listing: listing["content"]["content"].update(extra=part)
    )
    with pytest.raises(ImportRefused, match="not a part of"):
        parse_source(content)


def test_other_estimators_and_zip_files_are_refused():
    frame, bad = rows()
    other = LogisticRegression().fit(frame[["Age"]], bad)
    with pytest.raises(ImportRefused, match="LogisticRegression"):
        parse_source(skops.io.dumps(other))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("x", b"")
    with pytest.raises(ImportRefused, match="schema"):
        parse_source(empty.getvalue())


def lightgbm_text(old, new):
    text = trained("lightgbm text")[0].decode()
    assert old in text
    return text.replace(old, new).encode()


def xgboost_document(change):
    document = json.loads(trained("xgboost")[0])
    change(document["learner"])
    return json.dumps(document).encode()


def xgboost_categories(**changed):
    """Return a model whose first tree splits on the categories of feature 0."""
    fields = {"categories": [1], "categories_nodes": [0], "categories_segments": [0]}

    def change(learner):
        tree = learner["gradient_booster"]["model"]["trees"][0]
        tree["split_type"][0] = 1
        tree.update(fields | {"categories_sizes": [1]} | changed)

    return xgboost_document(change)


def damaged_skops(source, array=(), **attributes):
    """Return a skops file with other attributes, or with another array of two numbers.

    `array` None is one of 1e11 numbers, of which the file has only the header.
    """
    frame, bad = rows()
    kind = HistGradientBoostingClassifier if source == "histogram" else GradientBoostingClassifier
    numbers = frame[["Age", "Balance"]].fillna(0).to_numpy()
    model = kind(random_state=0).set_params(max_depth=1).fit(numbers, bad)
    for name, value in attributes.items():
        setattr(model, name, value)
    content = skops.io.dumps(model)
    if isinstance(array, tuple):
        return content
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**11,)}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".npy") and np.load(io.BytesIO(data)).shape == (2,):
                file = io.BytesIO()
                if array is None:
                    np.lib.format.write_array_header_1_0(file, header)
                else:
                    np.save(file, array)
                data = file.getvalue()
            new.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: pickle.dumps({}), "pickle"),
        (lambda: b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner\xef", "UBJSON"),
        (lambda: b"binf\x00\x00", "none of the known formats"),
        (lambda: b"", "none of the known formats"),
        (lambda: b'[{"nodeid": 0, "leaf": 1}]', "dump_model has no base score"),
        (lambda: b'{"learner": ', "not valid JSON"),
        (lambda: b"[" * 100_000, "not valid JSON"),
        (lambda: lightgbm_text("objective=binary sigmoid:1", "objective=binary sigmoid:2"),
         "sigmoid"),
        (lambda: lightgbm_text("objective=binary sigmoid:1", "objective=regression"), "regression"),
        (lambda: lightgbm_text("is_linear=0", "is_linear=1"), "linear_tree=False"),
        (lambda: lightgbm_text("num_class=1", "num_class=1\naverage_output"), "averages"),
        (lambda: lightgbm_text("version=v4", "version=v2"), "format v2"),
        (lambda: lightgbm_text("end of trees", ""), "its end is missing"),
        (lambda: lightgbm_text("left_child=", "left_child=0 "), "reaches a node twice"),
        (lambda: lightgbm_text("leaf_value=", "leaf_value=nan "), "not a finite number"),
        (lambda: lightgbm_text("split_feature=", "split_feature=77 "), "names no feature"),
        (lambda: xgboost_document(lambda learner: learner["objective"].update(
            name="reg:squarederror")), "reg:squarederror"),
        (lambda: xgboost_document(lambda learner: learner["gradient_booster"]["model"]["trees"][
            0].update(left_children=[0])), "cannot be read|twice"),
        # A few bytes that state a lot of memory, or numbers that fail only later.
        (lambda: lightgbm_text("pandas_categorical:", "pandas_categorical:" + "[" * 100_000),
         "nested too deeply"),
        (lambda: lightgbm_text("cat_boundaries=0", "cat_boundaries=0 9 0"), "does not rise"),
        (lambda: xgboost_document(lambda learner: (
            learner["learner_model_param"].update(num_feature="2000000000"),
            learner.update(feature_names=[]))), "more than 65536 features"),
        (lambda: xgboost_categories(categories=[10**400]), "category outside"),
        (lambda: xgboost_categories(categories_sizes=[2]), "categories_sizes"),
        (lambda: damaged_skops("histogram", n_features_in_=10**10), "more than 65536 features"),
        (lambda: damaged_skops("classic", array=np.array([0.0, 1.0])), "damaged"),
        (lambda: damaged_skops("classic", array=None), "do not fit in memory"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_a_sentence(make, fault):
    with pytest.raises((ImportRefused, UnsupportedBooster, ModelTooLarge), match=fault):
        parse_source(make())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["xgboost", "lightgbm text", "lightgbm json", "classic"]), st.data())
def test_a_damaged_file_is_refused_or_read(source, data):
    content = bytearray(trained(source)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        found = import_model(parse_source(bytes(content)), schema())
    except TrisealError as error:
        assert error.message
    else:
        assert found.domain.changed == 0


def test_a_model_over_other_columns_is_refused_by_name():
    parties = json.loads(json.dumps(SCHEMA["parties"]))
    del parties[1]["columns"][0]
    with pytest.raises(ImportRefused, match="no column for the model's monthly income"):
        import_model(parse_source(trained("xgboost")[0]), schema(parties=parties))
    parties = json.loads(json.dumps(SCHEMA["parties"]))
    parties[0]["columns"][2] |= {"optional": True}
    with pytest.raises(ImportRefused, match="Owner may be missing"):
        import_model(parse_source(trained("classic")[0]), schema(parties=parties))


# The command


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Return the folder of an imported LightGBM model, made by the command."""
    folder = tmp_path_factory.mktemp("imported")
    frame, bad = rows()
    frame = frame.assign(Bad=bad, Owner=frame["Owner"].astype(int), Income=frame["monthly income"])
    frame.to_csv(folder / "rows.csv", index=False, float_format="%.12g")
    (folder / "model.txt").write_bytes(trained("lightgbm text")[0])
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    return folder


def run(folder, *more, out="model", data=True):
    arguments = ["--booster", folder / "model.txt", "--schema", folder / "schema.json"]
    arguments += ["--data", folder / "rows.csv"] if data else []
    return main([str(a) for a in (*arguments, "--out", folder / out, *more)])


def test_the_command_writes_a_model_that_compiles_and_decides_encrypted(imported, capsys):
    assert run(imported) == 0
    printed = capsys.readouterr().out
    assert "become public" in printed and "class 1 means denied" in printed
    assert "0 (0.00%) are decided otherwise" in printed and "(loss 0.0000)" in printed
    folder = imported / "model"
    assert folder.stat().st_mode & 0o777 == 0o700
    check = json.loads((folder / "import_check.json").read_text())
    assert check["domain"]["rows"] == 1000 and check["domain"]["changed"] == 0
    compile_deployment(folder, imported / "deployment", ["levelled"])
    runs = EncryptedRuns("levelled", imported / "deployment")
    model, own = parse_source((imported / "model.txt").read_bytes()), schema()
    frame = by_name(rows(40, seed=77)[0])
    source = -model.log_odds(raw_rows(frame, bind(model, own, []), len(model.features)))
    for wanted in (source.argmax(), source.argmin()):
        row = runs.deployment.layout.encode(frame.iloc[int(wanted)].to_dict())
        assert runs.decide(row).scores == runs.expected("decide", row)
        assert (runs.decide(row).scores[0] >= 0) == (source[wanted] > 0)
    card = (imported / "deployment" / "model_card.md").read_text()
    assert "trained elsewhere and imported" in card


def test_the_command_prints_one_line_and_changes_nothing_if_it_fails(imported, capsys):
    assert run(imported, "--target", "Age", out="none") == 1
    assert "Age is a column of the schema" in capsys.readouterr().err
    (imported / "foreign").mkdir(exist_ok=True)
    (imported / "foreign" / "letter.txt").write_text("mine")
    assert run(imported, out="foreign") == 1
    assert "letter.txt" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert sorted(p.name for p in (imported / "foreign").iterdir()) == ["letter.txt"]
    assert not (imported / "none").exists()


@pytest.mark.skipif(not RAW_HMEQ.exists(), reason="the model file of HMEQ is not here")
def test_the_raw_booster_of_hmeq_is_imported(tmp_path, capsys):
    """100 trees of XGBoost 3.2 over 12 raw columns, with its own splits on categories."""
    learner = json.loads(RAW_HMEQ.read_text())["learner"]
    columns = [
        {"name": name, "kind": "ordinal", "label": name, "minimum": 0, "maximum": 1_000_000,
         "optional": True}
        for name in learner["feature_names"]
    ]  # fmt: skip
    for place, values in ((3, ["HomeImp", "DebtCon"]), (4, ["Other", "Mgr", "Office", "Sales"])):
        kept = {k: columns[place][k] for k in ("name", "label", "optional")}
        columns[place] = kept | {"kind": "categorical", "values": values}
    parties = [
        {"name": name, "label": name, "columns": own}
        for name, own in (("applicant", columns[:5]), ("agency", columns[5:]))
    ]
    document = {"name": "h", "title": "h", "parties": parties, "decision": {"target": "BAD"}}
    (tmp_path / "schema.json").write_text(json.dumps(document))
    arguments = ["--booster", RAW_HMEQ, "--schema", tmp_path / "schema.json"]
    assert main([str(a) for a in (*arguments, "--out", tmp_path / "model")]) == 0
    assert "100 trees" in (printed := capsys.readouterr().out)
    assert "0 (0.00%) are decided otherwise" in printed
