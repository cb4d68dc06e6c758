"""A very small Concrete ML model, trained, compiled and run with real encryption."""

import json

import numpy as np
import pytest

from engines.concrete_ml.build import build, party_features, train
from engines.concrete_ml.features import feature_names, remaining_variants
from engines.concrete_ml.messages import header
from engines.concrete_ml.reference import Trees, reference_scores
from engines.concrete_ml.server import ConcreteMlServer
from engines.deployment import Deployment
from engines.envelope import seal, unseal
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    slot_of,
)
from engines.registry import load_party_engine, load_server_engine
from engines.zip_files import pack, sha256, unpack
from features.encoding import Layout
from features.schema import Schema
from model.booster import parse_ensemble
from model.program import decide_program, explain_program
from model.quantise import quantise
from parties.single_key.session import ApplicationSession
from tests.conftest import write_small_deployment
from tests.parties.running import started
from training.models import Shape, Stage, fit, model_json
from utils.errors import DeploymentMixed, ForeignMessage, MalformedMessage, RunCancelled

SMALL = {"trees": 3, "depth": 2, "n_bits": 3}


def regrouped(schema, parties):
    """Return the schema with its columns regrouped by party, from {name: column names}."""
    document = schema.model_dump(mode="json")
    columns = {c["name"]: c for party in document["parties"] for c in party["columns"]}
    document["parties"] = [
        {"name": name, "label": name.title(), "columns": [columns[c] for c in names]}
        for name, names in parties.items()
    ]
    return Layout(Schema.parse(document))


@pytest.fixture(scope="module")
def two_parties(schema):
    names = [column.name for column in schema.columns()]
    return regrouped(schema, {"first": names[:-2], "second": names[-2:]})


@pytest.fixture(scope="module")
def four_parties(schema):
    names = [column.name for column in schema.columns()]
    return regrouped(
        schema, {"one": names[:1], "two": names[1:7], "three": names[7:-2], "four": names[-2:]}
    )


class Played:
    """A deployment with both halves of the engine and a key."""

    def __init__(self, folder):
        self.folder = folder
        self.server = load_server_engine("concrete_ml", folder)
        self.public = self.server.public
        self.layout = Layout(self.public.schema_)
        self.parties = self.public.schema_.party_names
        self.party = load_party_engine(self.public, self.server.client_files())
        self.keys = self.party.make_keys()

    def messages(self, bits, explain=False):
        sent = {(self.parties[0], EVALUATION_KEY): self.keys.evaluation}
        for name in self.parties:
            own = bits[self.layout.party_bits(name)]
            sent[name, ENCRYPTED_INPUTS] = self.party.encrypt(name, own, self.keys.secret)
        if explain:
            owner = self.public.schema_.explained_party
            own = bits[self.layout.party_bits(owner)]
            extra = self.party.encrypt_explanation(own, self.keys.secret)
            sent[owner, EXPLANATION_INPUTS] = extra
        for (name, file_name), message in sent.items():
            slot = slot_of(self.public.slots, name, file_name)
            assert len(message) <= slot.maximum_bytes
            self.server.check(slot, message)
        return sent

    def decide(self, bits):
        result = self.server.evaluate(DECIDE, self.messages(bits))
        return self.party.open(DECIDE, result, self.keys.secret)

    def explain(self, bits, progress=None):
        needed = {
            key: message
            for key, message in self.messages(bits, explain=True).items()
            if EXPLAIN in slot_of(self.public.slots, *key).needed_for
        }
        result = self.server.evaluate(EXPLAIN, needed, progress)
        return self.party.open(EXPLAIN, result, self.keys.secret)

    def reference(self, rows):
        return reference_scores(self.folder, self.layout, rows)

    def counterfactuals(self, bits):
        """Return the whole rows that an explanation evaluates."""
        own = self.layout.party_bits(self.public.schema_.explained_party)
        variants = remaining_variants(self.layout, bits[own])
        rows = [[*bits[: own.start], *v, *bits[own.stop :]] for v in variants]
        return np.array(rows, np.uint8).reshape(-1, len(bits))


def write_deployment(folder, layout, booster, programs, bits, y):
    facts = build(layout, bits, y, folder, **SMALL)
    write_small_deployment(folder, layout.schema, booster, programs, {"concrete_ml": facts})
    return folder


@pytest.fixture(scope="module")
def played(compiled, layout, credit_data, small_booster, small_programs):
    (bits, y), _ = credit_data

    def write(folder):
        return write_deployment(folder, layout, small_booster, small_programs, bits, y)

    return Played(compiled.deployment("concrete_ml", write))


def with_remaining(played, rows, count):
    return next(row for row in rows if len(played.counterfactuals(row)) == count)


# Features


def test_features_are_bins_flags_and_categories(layout):
    bits = layout.encode_party("credit_agency", {"Employed": True, "Years_employed": 9})
    assert feature_names(layout, "credit_agency") == ["Employed is true", "Years_employed bin"]
    assert party_features(layout, "credit_agency", bits).tolist() == [1, 3]


@pytest.mark.parametrize("grouping", ["two_parties", "four_parties"])
def test_features_do_not_depend_on_column_owner(request, grouping, layout, credit_data):
    other = request.getfixturevalue(grouping)
    (bits, _), _ = credit_data  # the columns keep their order, and so do the bits

    def whole(some):
        parties = some.schema.party_names
        names = [name for party in parties for name in feature_names(some, party)]
        values = [party_features(some, p, bits[:50, some.party_bits(p)]) for p in parties]
        return names, np.concatenate(values, axis=1)

    names, features = whole(other)
    wanted_names, wanted = whole(layout)
    assert names == wanted_names
    assert features.shape == (50, len(names))
    assert (features == wanted).all()


def test_missing_number_has_its_own_feature(schema):
    document = schema.model_dump(mode="json")
    for column in document["parties"][2]["columns"]:
        column["optional"] = True
    layout = Layout(Schema.parse(document))
    party = schema.party_names[2]
    names = feature_names(layout, party)
    assert names[-2:] == ["Years_employed bin", "Years_employed is missing"]
    nothing = layout.encode_party(party, {})
    assert party_features(layout, party, nothing).tolist() == [0, 1, 0, 1]
    assert len(remaining_variants(layout, nothing)) == 6
    assert all(v[-1] == 0 and v[0] == 1 for v in remaining_variants(layout, nothing))


@pytest.mark.parametrize(
    ("employed", "years", "remaining"), [(True, 0, 5), (True, 12, 1), (True, 40, 0), (False, 0, 6)]
)
def test_variants_are_the_higher_bins(layout, employed, years, remaining):
    party = layout.schema.explained_party
    own = layout.encode_party(party, {"Employed": employed, "Years_employed": years})
    variants = remaining_variants(layout, own)
    highest = [layout.encode_party(party, {"Employed": True, "Years_employed": 80})]
    assert len(variants) == remaining
    assert all(np.array_equal(v, h) for v, h in zip(variants[-1:], highest, strict=False))


# The reference


def test_reference_equals_concrete_ml_prediction(played, layout, credit_data):
    (bits, y), (held_out, _) = credit_data
    model = train(layout, bits, y, **SMALL)
    parties = layout.schema.party_names
    features = [party_features(layout, p, held_out[:, layout.party_bits(p)]) for p in parties]
    theirs = model.predict_proba(np.concatenate(features, axis=1).astype(float))[:, 1]
    assert np.allclose(1 / (1 + np.exp(-played.reference(held_out))), theirs, atol=1e-12)


def test_more_of_the_explained_column_never_lowers_the_score(played, credit_data):
    for row in credit_data[1][0][:100]:
        assert (np.diff(played.reference(played.counterfactuals(row))) >= 0).all()


def test_scores_stay_within_published_range(played, credit_data):
    facts = played.public.programs[DECIDE]
    half = 2 ** (facts.score_bits - 1)
    assert np.abs(played.reference(credit_data[0][0])).max() <= half
    assert facts.scale == 1


# Under encryption


def test_decisions_equal_the_reference(played, credit_data):
    rows = credit_data[1][0]
    scores = played.reference(rows)
    for index in (0, int(scores.argmin()), int(scores.argmax())):
        assert played.decide(rows[index]) == (scores[index],)


def test_explanation_equals_the_reference(played, credit_data):
    row = with_remaining(played, credit_data[1][0], 2)
    progress = []
    scores = played.explain(row, progress.append)
    assert scores == tuple(played.reference(played.counterfactuals(row)))
    assert progress == [0.5, 1.0]


def test_explanation_without_employment_covers_every_bin(played, credit_data):
    row = with_remaining(played, credit_data[1][0], 6)
    assert played.explain(row) == tuple(played.reference(played.counterfactuals(row)))


def test_explanation_in_the_highest_bin_is_empty(played, credit_data):
    assert played.explain(with_remaining(played, credit_data[1][0], 0)) == ()


def test_two_parties_decide_and_explain(compiled, two_parties, credit_data):
    (bits, y), _ = credit_data

    def write(folder):
        booster = model_json(fit(Shape("tiny", (Stage(2, 1),)), two_parties, bits, y))
        ensemble = parse_ensemble(json.loads(booster), two_parties)
        decide = decide_program(quantise(ensemble, two_parties, 7, bits), two_parties)
        programs = {DECIDE: decide, EXPLAIN: explain_program(decide, two_parties)}
        return write_deployment(folder, two_parties, booster, programs, bits, y)

    played = Played(compiled.deployment("concrete_ml_two_parties", write))
    row = with_remaining(played, credit_data[1][0], 1)
    assert played.decide(row) == tuple(played.reference(row[None, :]))
    assert played.explain(row) == tuple(played.reference(played.counterfactuals(row)))


# Over HTTP


@pytest.fixture(scope="module")
def session(played, tmp_path_factory):
    """Return a decided application explained by a run for every bin, its record, its server."""
    server = started(tmp_path_factory.mktemp("server"), played.folder, "concrete_ml")
    connection = server.connect(tmp_path_factory.mktemp("parties"))
    made = ApplicationSession.open(connection)
    made.make_keys()
    default = {
        party.name: {column.name: column.default for column in party.columns}
        for party in played.public.schema_.parties
    }
    default["credit_agency"] = {"Employed": False, "Years_employed": 0}
    for name, record in default.items():
        made.send(name, record)
    run = made.run()
    assert run.loading_seconds > 0, "the key is new"
    made.open_decision()
    whole = {name: value for own in default.values() for name, value in own.items()}
    yield made, played.layout.encode(whole), server
    connection.client.close()
    server.stop()


def test_explanation_is_cancelled_between_runs_and_asked_for_again(played, session):
    made, bits, server = session
    workers = set(server.workers())
    told = []

    def cancel(news):
        told.append(news.found)
        if news.found is not None and news.found.run_number == 3:
            made.cancel(EXPLAIN)

    with pytest.raises(RunCancelled):
        made.explain(news=cancel)
    assert made.state().programs[EXPLAIN].status == "cancelled"
    told.clear()
    explained = made.explain(news=lambda news: told.append(news.found)).explanation
    assert explained.scores == tuple(played.reference(played.counterfactuals(bits)))
    running = [state for state in told if state.phase == "evaluating"]
    assert {state.runs for state in running} == {6}
    assert running[0].remaining_seconds is not None, "known from the decision"
    numbers = [state.run_number for state in running]
    assert numbers == sorted(numbers) and len(set(numbers)) > 2
    assert workers and set(server.workers()) == workers, "the cancelling has killed no worker"


# Public and private data


def test_facts_state_opened_values_and_key_holder(played):
    facts = played.public.engine
    assert facts.name == "concrete_ml"
    assert facts.explains_by == "rerun"
    assert not facts.joint_keys
    assert facts.opened.startswith("Every tree's output")
    assert "Applicant" in facts.secret_key
    assert played.public.programs[EXPLAIN].outputs[0] == "0 to under 2"


def test_the_trees_stay_on_the_server(played):
    files = unpack(played.server.client_files())
    assert sorted(files) == ["client.specs.json", "quantisers.json"]
    own = played.folder / "concrete_ml"
    assert Trees.load(own / "trees.npz").leaves.shape[0] == SMALL["trees"]


def test_rebuilding_gives_the_same_model(played, tmp_path, layout, credit_data):
    (bits, y), _ = credit_data
    again = build(layout, bits, y, tmp_path, **SMALL)
    assert again == Deployment.load(played.folder).engine_facts("concrete_ml")


# Invalid messages


def test_foreign_messages_are_refused(played, credit_data):
    row = credit_data[1][0][0]
    sent = played.messages(row, explain=True)
    bank = slot_of(played.public.slots, "bank", ENCRYPTED_INPUTS)
    agency = slot_of(played.public.slots, "credit_agency", ENCRYPTED_INPUTS)
    with pytest.raises(ForeignMessage, match="party"):
        played.server.check(bank, sent["applicant", ENCRYPTED_INPUTS])
    with pytest.raises(ForeignMessage, match="kind"):
        played.server.check(agency, sent["credit_agency", EXPLANATION_INPUTS])
    _, payload = unseal(sent["bank", ENCRYPTED_INPUTS])
    other = seal(header("another model", ENCRYPTED_INPUTS, "bank"), bytes(payload))
    with pytest.raises(ForeignMessage, match="model"):
        played.server.check(bank, other)
    engine = header(played.public.model_version, ENCRYPTED_INPUTS, "bank")
    other = seal(engine.model_copy(update={"engine": "concrete"}), bytes(payload))
    with pytest.raises(ForeignMessage, match="engine"):
        played.server.check(bank, other)


def test_malformed_messages_are_refused(played, credit_data):
    sent = played.messages(credit_data[1][0][0], explain=True)
    generator = np.random.default_rng(1)
    for (party, kind), message in sent.items():
        slot = slot_of(played.public.slots, party, kind)
        expected, payload = unseal(message)
        size = len(payload)
        wrong = [b"", message[:-1], message[:60], generator.bytes(len(message))]
        wrong += [seal(expected, p) for p in (b"", generator.bytes(min(size, 4096)))]
        if kind != EVALUATION_KEY:
            start = 5 if kind == EXPLANATION_INPUTS else 4
            wrong.append(seal(expected, bytes(payload)[:-1]))
            wrong.append(seal(expected, bytes(payload) + b"\0"))
            noise = generator.bytes(size - start)
            wrong.append(seal(expected, bytes(payload)[:start] + noise))
        for text in wrong:
            with pytest.raises(MalformedMessage):
                played.server.check(slot, text)


@pytest.mark.parametrize("count", [0, 1, 7, 255])
def test_an_explanation_with_a_wrong_number_of_runs_is_refused(played, credit_data, count):
    row = with_remaining(played, credit_data[1][0], 2)
    message = played.messages(row, explain=True)["credit_agency", EXPLANATION_INPUTS]
    expected, payload = unseal(message)
    slot = slot_of(played.public.slots, "credit_agency", EXPLANATION_INPUTS)
    with pytest.raises(MalformedMessage):
        played.server.check(slot, seal(expected, bytes([count]) + bytes(payload)[1:]))


def test_malformed_results_and_keys_are_refused(played):
    secret, version = played.keys.secret, played.public.model_version
    for program in (DECIDE, EXPLAIN):
        expected = header(version, "result", program=program)
        for payload in (b"", b"\x01", b"\x01\x04\x00\x00\x00abcd", b"\x04\x00\x00\x00abcd"):
            with pytest.raises(MalformedMessage):
                played.party.open(program, seal(expected, payload), secret)
    with pytest.raises(ForeignMessage, match="program"):
        played.party.open(DECIDE, seal(expected, b""), secret)
    with pytest.raises(MalformedMessage, match="make the keys again"):
        played.party.open(
            EXPLAIN, seal(expected, b"\x00"), b"no key"
        )  # needs the key even if there is nothing to decrypt


def test_client_files_of_another_schema_are_refused(played):
    files = unpack(played.server.client_files())
    quantisers = json.loads(files["quantisers.json"])
    quantisers["inputs"]["bank"][0]["feature"] = "Another bin"
    for text in (json.dumps(quantisers).encode(), b"{}", b'{"py/object": "x"}'):
        archive = pack(files | {"quantisers.json": text})
        public = played.public.model_copy(update={"client_sha256": sha256(archive)})
        with pytest.raises(MalformedMessage, match="client files"):
            load_party_engine(public, archive)


@pytest.mark.parametrize("library", ["concrete-ml", "concrete-python"])
def test_another_library_version_is_refused(played, library):
    deployment = Deployment.load(played.folder)
    manifest = deployment.manifest
    other = manifest.model_copy(update={"versions": manifest.versions | {library: "0.1"}})
    with pytest.raises(DeploymentMixed, match=library):
        ConcreteMlServer(Deployment(deployment.folder, other, deployment.layout, {}))
