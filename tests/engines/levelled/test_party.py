"""The party's half from key shares to scores, through the interface that the protocol uses."""

import hashlib

import numpy as np
import pytest

from engines.envelope import seal, unseal, unseal_as
from engines.interface import ENCRYPTED_INPUTS, PUBLIC_KEY, ProgramFacts, PublicModel
from engines.levelled.ceremony import make_joint_keys, pairwise_keys
from engines.levelled.keys import PublicKey
from engines.levelled.messages import RESULT, ClientFacts, ProgramBudget, facts, header
from engines.levelled.opening import rerandomise
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS
from engines.levelled.party import LevelledParty
from engines.levelled.randomness import Expander
from engines.zip_files import EMPTY_ZIP, sha256
from features.variations import explained_labels
from tests.engines.levelled.joint_keys import PARTIES
from utils.errors import ForeignMessage, MalformedMessage, UnknownParty, UnsafeParameters

MODEL = "model"
BITS = 12
BUDGET = ProgramBudget(score_bits=BITS, sigma_flood=2.0**-18, sigma_smudge=2.0**-18)
CLIENT = ClientFacts(profile=DEFAULT.profile, budgets={"decide": BUDGET, "explain": BUDGET})


@pytest.fixture(scope="session")
def public(schema):
    programs = {
        "decide": ProgramFacts(outputs=("score",), score_bits=BITS, scale=100.0),
        "explain": ProgramFacts(outputs=explained_labels(schema), score_bits=BITS, scale=100.0),
    }
    return PublicModel(
        engine=facts(3),
        model_version=MODEL,
        schema_=schema,
        programs=programs,
        slots=(),
        client_sha256=sha256(CLIENT.to_archive()),
        versions={},
    )


@pytest.fixture(scope="session")
def engine(public):
    return LevelledParty(public, CLIENT.to_archive())


@pytest.fixture(scope="session")
def keys(engine):
    """Return (secrets by party, public key) of one application."""
    made = make_joint_keys(engine, PARTIES, b"application")
    return made.secrets, made.public_key


def result_message(key, program, scores):
    """Return the message that a server would send for these scores."""
    body = np.zeros(DEFAULT.n, np.uint64)
    body[: len(scores)] = np.array(scores, np.int64).view(np.uint64) << np.uint64(64 - BITS)
    result = rerandomise(
        np.zeros_like(body), body, len(scores) + KNOWN_ZEROS, BUDGET.sigma_flood,
        PublicKey.from_bytes(key, DEFAULT), DEFAULT, Expander.fresh(),
    )  # fmt: skip
    return seal(header(MODEL, RESULT, program=program), result.to_bytes())


def parts_of(engine, keys, program, result, pairwise):
    secrets, key = keys
    return {
        party: engine.partial(program, result, party, key, secrets[party], pairwise[party])
        for party in PARTIES
    }


def test_schema_has_the_parties_of_these_tests(schema):
    assert set(schema.party_names) == set(PARTIES)


def test_common_randomness_depends_on_every_input(engine):
    seeds = {party: engine.seed_share() for party in PARTIES}
    common = engine.common(b"application", seeds)
    assert len(common) == 32
    assert engine.common(b"application", dict(reversed(seeds.items()))) == common
    assert engine.common(b"another", seeds) != common
    assert engine.common(b"application", seeds | {"bank": engine.seed_share()}) != common
    swapped = seeds | {"bank": seeds["applicant"], "applicant": seeds["bank"]}
    assert engine.common(b"application", swapped) != common


@pytest.mark.parametrize(
    ("program", "scores"),
    [("decide", [-3]), ("explain", [-2048, -5, 0, 1, 77, 2047, -1, 3, 2, -2, 5])],
)
def test_results_open_to_exact_scores(engine, keys, program, scores):
    result = result_message(keys[1], program, scores)
    pairwise = pairwise_keys(PARTIES)
    parts = parts_of(engine, keys, program, result, pairwise)
    assert engine.combine(program, result, parts) == tuple(float(score) for score in scores)
    assert parts_of(engine, keys, program, result, pairwise) == parts


def test_inputs_are_sealed_for_their_party_with_key_digest(engine, keys, layout):
    key = keys[1]
    own = layout.party_bits("bank")
    bits = np.zeros(own.stop - own.start, np.uint8)
    message = engine.encrypt("bank", bits, key)
    payload = unseal_as(header(MODEL, ENCRYPTED_INPUTS, "bank"), message)
    assert len(payload) == DEFAULT.inputs_bytes(len(bits))
    assert payload[:32] == hashlib.sha256(key).digest()
    assert engine.encrypt("bank", bits, key) != message
    assert unseal(message)[0].profile == DEFAULT.profile


def test_the_public_key_is_sealed_for_its_party(engine, keys):
    message = engine.seal_public_key("applicant", keys[1])
    assert unseal_as(header(MODEL, PUBLIC_KEY, "applicant"), message) == keys[1]


def test_bits_of_wrong_length_or_value_are_refused(engine, keys, layout):
    own = layout.party_bits("bank")
    count = own.stop - own.start
    for bits in (np.zeros(count + 1, np.uint8), np.full(count, 2, np.uint8)):
        with pytest.raises(MalformedMessage, match="bank"):
            engine.encrypt("bank", bits, keys[1])
    with pytest.raises(UnknownParty):
        engine.encrypt("nobody", np.zeros(1, np.uint8), keys[1])


def test_shares_of_unknown_parties_are_refused(engine, keys):
    secrets, key = keys
    result = result_message(key, "decide", [1])
    pairwise = pairwise_keys(PARTIES)
    parts = parts_of(engine, keys, "decide", result, pairwise)
    two = {party: part for party, part in parts.items() if party != "bank"}
    seeds = {party: bytes(32) for party in PARTIES}
    for wrong in (two, parts | {"nobody": parts["bank"]}, {}):
        with pytest.raises(MalformedMessage, match="bank"):
            engine.combine("decide", result, wrong)
        with pytest.raises(MalformedMessage, match="bank"):
            engine.collective_key(bytes(32), wrong)
        with pytest.raises(MalformedMessage, match="bank"):
            engine.common(b"", {party: seeds.get(party, bytes(32)) for party in wrong})
    for party, shared in (("bank", pairwise["applicant"]), ("nobody", pairwise["bank"])):
        with pytest.raises(MalformedMessage):
            engine.partial("decide", result, party, key, secrets["bank"], shared)


@pytest.mark.parametrize("broken", [b"", b"x", bytes(31), bytes(100), bytes(16417)])
def test_malformed_bytes_are_refused_by_every_method(engine, keys, broken):
    secrets, key = keys
    result = result_message(key, "decide", [1])
    pairwise = pairwise_keys(PARTIES)
    everybody = dict.fromkeys(PARTIES, broken)
    calls = [
        lambda: engine.common(b"", everybody),
        lambda: engine.key_share(broken),
        lambda: engine.collective_key(broken, everybody),
        lambda: engine.collective_key(bytes(32), everybody),
        lambda: engine.seal_public_key("bank", broken),
        lambda: engine.encrypt("bank", np.zeros(0, np.uint8), broken),
        lambda: engine.partial("decide", broken, "bank", key, secrets["bank"], pairwise["bank"]),
        lambda: engine.partial("decide", result, "bank", broken, secrets["bank"], pairwise["bank"]),
        lambda: engine.partial("decide", result, "bank", key, broken, pairwise["bank"]),
        lambda: engine.partial(
            "decide", result, "bank", key, secrets["bank"], dict.fromkeys(pairwise["bank"], broken)
        ),
        lambda: engine.combine("decide", broken, everybody),
        lambda: engine.combine("decide", result, everybody),
    ]
    for call in calls:
        with pytest.raises(MalformedMessage):
            call()


def test_results_of_another_program_model_or_profile_are_refused(engine, keys):
    secrets, key = keys
    result = result_message(key, "decide", [1])
    pairwise = pairwise_keys(PARTIES)["bank"]
    payload = bytes(unseal(result)[1])
    for other in (
        header("other", RESULT, program="decide"),
        header(MODEL, RESULT, program="explain"),
        header(MODEL, RESULT, program="decide", profile="n4096-l3-b14"),
        header(MODEL, ENCRYPTED_INPUTS, program="decide"),
    ):
        with pytest.raises(ForeignMessage):
            engine.partial("decide", seal(other, payload), "bank", key, secrets["bank"], pairwise)
    with pytest.raises(ForeignMessage, match="program"):
        engine.combine("other", result, dict.fromkeys(PARTIES, b""))


def test_client_files_that_do_not_fit_the_model_are_refused(public):
    with pytest.raises(MalformedMessage):
        LevelledParty(public, EMPTY_ZIP)
    with pytest.raises(MalformedMessage):
        LevelledParty(public, b"no archive")
    with pytest.raises(UnsafeParameters, match="parameters 'other'"):
        LevelledParty(public, CLIENT.model_copy(update={"profile": "other"}).to_archive())
    narrower = BUDGET.model_copy(update={"score_bits": 7})
    for budgets in ({"decide": BUDGET}, {"decide": narrower, "explain": BUDGET}):
        with pytest.raises(ForeignMessage, match="programs"):
            LevelledParty(public, CLIENT.model_copy(update={"budgets": budgets}).to_archive())


def test_the_engine_keeps_no_secret(engine, keys):
    secrets, _ = keys
    seen = repr(vars(engine)).encode()
    for secret in secrets.values():
        assert secret[1:33].hex().encode() not in seen
        assert secret not in seen
