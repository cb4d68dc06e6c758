"""The server's half on a deployment: whole applications, and refused messages."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from engines.deployment import Deployment, write_manifest
from engines.envelope import seal, unseal
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EXPLAIN,
    PROGRAMS,
    PUBLIC_KEY,
    REASONS,
    PublicModel,
    slot_of,
)
from engines.levelled import build as build_module
from engines.levelled.build import build
from engines.levelled.messages import NAME, ClientFacts
from engines.levelled.parameters import DEFAULT, WIDE_NOISE
from engines.levelled.server import LevelledServer
from engines.registry import (
    load_joint_party_engine,
    load_party_engine,
    load_server_engine,
)
from model.horner import external_products
from model.polynomial import sample_states
from model.reference import reference_scores
from settings import ROOT
from tests.engines.levelled.joint_keys import PARTIES
from tests.strategies import QUICK
from training.measure.joint_parties import JointParties
from utils.errors import (
    DeploymentMissing,
    DeploymentMixed,
    EngineUnavailable,
    ForeignMessage,
    MalformedMessage,
    NoiseBudgetExceeded,
    ResultDiffers,
)

FIXTURES = settings(QUICK, suppress_health_check=list(HealthCheck))
KEY = (PARTIES[0], PUBLIC_KEY)
BANK = ("bank", ENCRYPTED_INPUTS)


@pytest.fixture(scope="module")
def deployment(levelled_deployment):
    return Deployment.load(levelled_deployment)


@pytest.fixture(scope="module")
def server(deployment):
    return LevelledServer(deployment)


@pytest.fixture(scope="module")
def party(server):
    engine = load_joint_party_engine(server.public, server.client_files())
    return JointParties(engine, list(PARTIES))


@pytest.fixture(scope="module")
def keys(party):
    return party.make_keys()


@pytest.fixture(scope="module")
def row(deployment):
    return deployment.layout.bits_of_states(sample_states(deployment.layout, 1, seed=3))[0]


def encrypted(party, keys, layout, row):
    """Return the messages that all parties send for one row of bits."""
    sent = {KEY: keys.evaluation}
    for name in layout.schema.party_names:
        sent[name, ENCRYPTED_INPUTS] = party.encrypt(
            name, row[layout.party_bits(name)], keys.secret
        )
    return sent


@pytest.fixture(scope="module")
def sent(party, keys, layout, row):
    return encrypted(party, keys, layout, row)


@pytest.fixture(scope="module")
def other_sent(party, keys, layout, row):
    """The same record, encrypted again under the same key."""
    return encrypted(party, keys, layout, row)


def test_all_programs_open_to_the_reference(server, party, keys, deployment, credit_data):
    layout, programs = deployment.layout, deployment.programs_of(NAME)
    extreme = layout.bits_of_states(programs[DECIDE].extreme_rows)
    for row in [*extreme, *credit_data[1][0][:3]]:
        messages = encrypted(party, keys, layout, row)  # the same for all programs
        for name in PROGRAMS:
            opened = party.open(name, server.evaluate(name, messages), keys.secret)
            assert opened == reference_scores(programs[name], row)
            assert len(opened) == {DECIDE: 1, EXPLAIN: 11, REASONS: 8}[name]


def test_shared_programs_give_the_integers_of_the_other_engines(deployment, row):
    server = LevelledServer(deployment, shared=True)
    widths = {name: p.score_bits for name, p in server.public.programs.items()}
    assert widths == {DECIDE: 7, EXPLAIN: 7, REASONS: 8}
    engine = load_joint_party_engine(server.public, server.client_files())
    party = JointParties(engine, list(PARTIES))
    keys = party.make_keys()
    messages = encrypted(party, keys, deployment.layout, row)
    for name in PROGRAMS:
        opened = party.open(name, server.evaluate(name, messages), keys.secret)
        assert opened == reference_scores(deployment.programs[name], row)


def test_every_message_fits_its_slot_exactly_and_passes_its_check(server, sent):
    slots = {(slot.party, slot.file_name): slot for slot in server.public.slots}
    assert set(slots) == set(sent) == {KEY, *((name, ENCRYPTED_INPUTS) for name in PARTIES)}
    for key, message in sent.items():
        assert len(message) <= slots[key].maximum_bytes
        server.check(slots[key], message)
        server.check(slots[key], memoryview(message), intact=True)
        assert slots[key].needed_for == PROGRAMS


def test_sizes_match_the_manifest(deployment, sent):
    recorded = deployment.engine_facts(NAME)
    assert len(unseal(sent[KEY])[1]) == recorded["public_key_bytes"]
    for name in PARTIES:
        (size,) = recorded["input_bytes"][name]
        assert len(unseal(sent[name, ENCRYPTED_INPUTS])[1]) == size


def test_server_results_are_rerandomised(server, sent):
    one, other = (words_of(server.evaluate(EXPLAIN, sent)) for _ in range(2))
    assert not (one == other).any()


def words_of(result):
    """Return the words of a sealed result: mask and bodies."""
    return np.frombuffer(unseal(result)[1], "<u8").copy()


def test_result_is_confirmed_with_its_own_seed_and_inputs_only(server, sent, other_sent):
    seed, result = bytes(range(32)), server.evaluate_seeded(DECIDE, sent, bytes(range(32)))
    own = server.outcome(DECIDE, sent)
    server.recheck(DECIDE, own, seed, result)
    header, _ = unseal(result)
    for position in (0, 2047, 2048, -1):
        altered = words_of(result)
        altered[position] += np.uint64(1 << 39)
        with pytest.raises(ResultDiffers):
            server.recheck(DECIDE, own, seed, seal(header, altered.tobytes()))
    for messages, other_seed in ((sent, bytes(32)), (other_sent, seed)):
        with pytest.raises(ResultDiffers):
            server.recheck(DECIDE, server.outcome(DECIDE, messages), other_seed, result)
    with pytest.raises(ForeignMessage):
        server.recheck(EXPLAIN, own, seed, result)
    with pytest.raises(MalformedMessage, match="seed"):
        server.recheck(DECIDE, own, seed[:-1], result)
    with pytest.raises(MalformedMessage, match="instead of"):
        server.recheck(DECIDE, own, seed, seal(header, words_of(result)[:-1].tobytes()))


def test_result_of_another_processor_is_confirmed(levelled_deployment, server, sent, tmp_path):
    """A process without AVX2, FMA and AVX-512 gives other low bits, within the tolerance."""
    for (party, name), message in sent.items():
        (tmp_path / f"{party}.{name}").write_bytes(message)
    seed = bytes(range(32))
    script = f"""
import sys, pathlib
from engines.registry import load_server_engine
server = load_server_engine("levelled", pathlib.Path({str(levelled_deployment)!r}))
sent = {{tuple(p.name.split(".", 1)): p.read_bytes() for p in pathlib.Path(".").iterdir()}}
sys.stdout.buffer.write(server.evaluate_seeded({EXPLAIN!r}, sent, bytes(range(32))))
"""
    features = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NPY_DISABLE_CPU_FEATURES": " ".join(features),
        },
        capture_output=True,
        check=True,
    ).stdout
    server.recheck(EXPLAIN, server.outcome(EXPLAIN, sent), seed, result)
    if "X86_V3" in features:  # AVX2 and FMA
        own = server.evaluate_seeded(EXPLAIN, sent, seed)
        assert (words_of(own) != words_of(result)).mean() > 0.1  # bits alone would not be equal


def test_progress_ends_at_one(server, sent):
    told = []
    server.evaluate(DECIDE, sent, told.append)
    assert told[-1] == 1.0


def resealed(message, change):
    header, payload = unseal(message)
    return seal(header, change(bytes(payload)))


@pytest.mark.parametrize("key", [KEY, BANK], ids=lambda key: key[1])
@pytest.mark.parametrize(
    "change",
    [lambda p: b"", lambda p: p[:-1], lambda p: p + b"\0", lambda p: p[: len(p) // 2]],
    ids=["empty", "shorter", "longer", "half"],
)
def test_payloads_of_wrong_length_are_refused(server, sent, key, change):
    message = resealed(sent[key], change)
    with pytest.raises(MalformedMessage, match="instead of"):
        server.check(slot_of(server.public.slots, *key), message)
    with pytest.raises(MalformedMessage, match="instead of"):
        server.evaluate(DECIDE, sent | {key: message})


@pytest.mark.parametrize("key", [KEY, BANK], ids=lambda key: key[1])
@pytest.mark.parametrize("place", [0, 10, 60, 400, 5000, -40, -1])
def test_changed_byte_is_detected_before_result_is_returned(server, sent, key, place):
    damaged = bytearray(sent[key])
    damaged[place] ^= 1
    with pytest.raises(MalformedMessage):
        server.check(slot_of(server.public.slots, *key), bytes(damaged))
    with pytest.raises(MalformedMessage):
        server.evaluate(DECIDE, sent | {key: bytes(damaged)})


@pytest.mark.parametrize("field", ["engine", "profile", "model", "kind", "party"])
def test_a_message_for_another_purpose_is_refused(server, sent, field):
    header, payload = unseal(sent[BANK])
    other = "applicant" if field == "party" else "other"
    message = seal(header.model_copy(update={field: other}), bytes(payload))
    with pytest.raises(ForeignMessage, match=f"another {field}"):
        server.check(slot_of(server.public.slots, *BANK), message)
    with pytest.raises(ForeignMessage, match=f"another {field}"):
        server.evaluate(DECIDE, sent | {BANK: message})


def test_inputs_under_another_key_are_refused(server, party, sent, layout, row):
    other = encrypted(party, party.make_keys(), layout, row)
    server.check(slot_of(server.public.slots, *BANK), other[BANK])  # not detectable yet
    with pytest.raises(ForeignMessage, match="inputs of bank are not encrypted under"):
        server.evaluate(DECIDE, sent | {BANK: other[BANK]})
    with pytest.raises(ForeignMessage, match="inputs of applicant are not encrypted under"):
        server.evaluate(DECIDE, sent | {KEY: other[KEY]})


@FIXTURES
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(server, content):
    for slot in server.public.slots[:2]:
        with pytest.raises(MalformedMessage):
            server.check(slot, content)


def test_server_facts_state_that_nobody_holds_the_key(server):
    assert server.facts.joint_keys and server.facts.encrypted
    assert "Nobody ever holds it" in server.facts.secret_key
    assert PublicModel.model_validate_json(server.public.model_dump_json()) == server.public


def test_client_files_contain_budgets_but_no_program(server):
    client = ClientFacts.from_archive(server.client_files())
    assert client.profile == DEFAULT.profile
    assert {name: b.score_bits for name, b in client.budgets.items()} == dict.fromkeys(PROGRAMS, 12)
    assert hashlib.sha256(server.client_files()).hexdigest() == server.public.client_sha256
    assert len(server.client_files()) < 1000


def test_registry_loads_both_halves(levelled_deployment, clear_deployment):
    server = load_server_engine(NAME, levelled_deployment)
    files = server.client_files()
    assert load_joint_party_engine(server.public, files).facts == server.facts
    with pytest.raises(EngineUnavailable, match=r"joint key.*python -m parties"):
        load_party_engine(server.public, files)
    with pytest.raises(ForeignMessage, match="do not belong to this model"):
        load_joint_party_engine(server.public, files + b"x")
    clear = load_server_engine("clear", clear_deployment)
    with pytest.raises(EngineUnavailable, match="clear has no joint keys; set TRISEAL_ENGINE"):
        load_joint_party_engine(clear.public, clear.client_files())
    unknown = clear.public.model_copy(
        update={"engine": clear.facts.model_copy(update={"name": "quantum"})}
    )
    with pytest.raises(EngineUnavailable, match="no engine 'quantum'"):
        load_joint_party_engine(unknown, clear.client_files())
    with pytest.raises(DeploymentMissing, match="not compiled for engine levelled"):
        load_server_engine(NAME, clear_deployment)


def test_the_chosen_parameters_are_recorded(deployment):
    recorded = deployment.engine_facts(NAME)
    own = deployment.programs_of(NAME)
    assert recorded["profile"] == DEFAULT.profile
    assert recorded["score_bits"] == own[DECIDE].score_bits == 12
    assert recorded["external_products"] == {
        name: external_products(program.polynomial) for name, program in own.items()
    }
    assert all(margin > 100 for margin in recorded["margin_sigmas"].values())
    assert all(failure < -128 for failure in recorded["failure_log2"].values())
    assert all(3 < room < 10 for room in recorded["room_bits"].values())


def test_engine_has_its_own_programs(deployment, small_programs_of):
    for name in PROGRAMS:
        own = small_programs_of(12)[name]
        assert deployment.programs_of(NAME)[name].to_json() == own.to_json()
        assert deployment.programs_of("clear")[name] is deployment.programs[name]
        assert deployment.program_facts(NAME)[name].score_bits == 12
        shared = deployment.program_facts("clear")[name].score_bits
        assert shared == small_programs_of(7)[name].score_bits < 12
    files = deployment.manifest.files
    assert {f"levelled/programs/{name}.json" for name in PROGRAMS} <= set(files)


@pytest.mark.parametrize("name", PROGRAMS)
def test_own_programs_are_checked_with_the_deployment(levelled_deployment, tmp_path, name):
    folder = shutil.copytree(levelled_deployment, tmp_path / "copy")
    path = folder / "levelled" / "programs" / f"{name}.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1", b"2", 1))
    with pytest.raises(DeploymentMixed, match=f"programs/{name}.json was not compiled together"):
        Deployment.load(folder)
    path.unlink()
    with pytest.raises(DeploymentMissing, match=f"levelled/programs/{name}.json is missing"):
        Deployment.load(folder)


def test_own_programs_determine_the_model_version(deployment, levelled_deployment, tmp_path):
    """The version changes even if the engine's facts in the manifest stay the same."""
    folder = shutil.copytree(levelled_deployment, tmp_path / "copy")
    before = write_manifest(folder, deployment.manifest.engines)
    assert before == deployment.manifest
    path = folder / "levelled" / "programs" / "decide.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"rounding_bound": document["rounding_bound"] + 1}))
    after = write_manifest(folder, deployment.manifest.engines)
    assert after.model_version != before.model_version


def test_recompiling_records_the_same_facts(deployment, small_programs_of, layout, tmp_path):
    assert build(small_programs_of, layout, tmp_path, opens="score") == deployment.engine_facts(
        NAME
    )


@pytest.mark.parametrize("opens", [build_module.SIGN, build_module.SCORE])
def test_more_secure_profile_is_used_where_it_leaves_room(
    small_programs_of, layout, tmp_path, monkeypatch, opens
):
    """Signs have it; a program with too much noise for it gets the next profile."""
    recorded = build(small_programs_of, layout, tmp_path, opens=opens)
    first = build_module.PARAMETERS_OF[opens][0]
    assert recorded["profile"] == first.profile
    assert (first is WIDE_NOISE) is (opens == build_module.SIGN)
    noisy = DEFAULT.model_copy(update={"profile": "noisy", "sigma_log": -40})
    monkeypatch.setitem(build_module.PARAMETERS_OF, opens, (noisy, DEFAULT))
    recorded = build(small_programs_of, layout, tmp_path, opens=opens)
    assert recorded["profile"] == DEFAULT.profile
    assert recorded["score_bits"] == max(build_module.SCORE_WIDTHS)
    monkeypatch.setitem(build_module.PARAMETERS_OF, opens, (noisy,))
    with pytest.raises(NoiseBudgetExceeded):
        build(small_programs_of, layout, tmp_path, opens=opens)


def test_score_is_narrowed_until_its_noise_budget_suffices(small_programs_of, layout, tmp_path):
    """Half the noise's standard deviation allows one more bit of the score."""
    widths = {}
    for sigma_log in range(-51, -40):
        parameters = DEFAULT.model_copy(update={"sigma_log": sigma_log})
        try:
            recorded = build(small_programs_of, layout, tmp_path, parameters, "score")
        except NoiseBudgetExceeded as error:
            assert "at 10 bits fails with probability" in error.message
            widths[sigma_log] = None
        else:
            widths[sigma_log] = recorded["score_bits"]
    found = [width for width in widths.values() if width]
    assert found == sorted(found, reverse=True)
    assert set(found) == set(build_module.SCORE_WIDTHS)
    assert widths[-41] is None
