"""Invalid messages: refused with a typed error before native code reads them, without a crash."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.clear import ClearParty
from engines.concrete.party import ConcreteParty
from engines.concrete.server import ConcreteServer
from engines.concrete.structure import Structure
from engines.deployment import Deployment
from engines.envelope import seal, unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLAIN
from engines.payload import join_parts, read_parts
from engines.zip_files import EMPTY_ZIP, pack
from model.polynomial import sample_states
from tests.strategies import QUICK
from utils.errors import (
    DeploymentMissing,
    DeploymentMixed,
    EvaluationFailed,
    ForeignMessage,
    MalformedMessage,
)

FIXTURES = settings(QUICK, suppress_health_check=list(HealthCheck))
FEW = settings(FIXTURES, max_examples=10)
ENCRYPTED_RUNS = settings(FIXTURES, max_examples=4)


@pytest.fixture(scope="module")
def sent(runs, layout):
    return runs.messages(layout.bits_of_states(sample_states(layout, 1, seed=31))[0])


@pytest.fixture(scope="module")
def result(runs, sent):
    """Return the encrypted decision on these messages."""
    return runs.server.evaluate(DECIDE, sent)


@pytest.fixture(scope="module")
def bank(runs, sent):
    """Return the header and both parts of the bank's message."""
    header, payload = unseal(sent["bank", ENCRYPTED_INPUTS])
    return header, read_parts(payload, 2)


def refused(runs, slot, message, kind=MalformedMessage):
    with pytest.raises(kind) as caught:
        runs.server.check(slot, message)
    assert caught.value.message
    return caught.value.message


def test_inputs_of_wrong_sizes_are_refused(runs, bank):
    header, (bits, states) = bank
    slot = runs.slot("bank")
    for parts in (
        [],
        [b"", b""],
        [bits],
        [bits, states, b""],
        [states, bits],
        [bits[:-1], states],
        [bits, states + b"\0"],
        [bits[:-8], states + bytes(8)],
        [bits, states * 100],
    ):
        refused(runs, slot, seal(header, join_parts(parts)))
    refused(runs, slot, seal(header, join_parts([bits, states])[:-4]))


def test_random_inputs_of_the_right_sizes_are_refused(runs, sent, bank):
    header, parts = bank
    for _ in range(5):
        message = seal(header, join_parts([os.urandom(len(part)) for part in parts]))
        assert "do not fit this model" in refused(runs, runs.slot("bank"), message)
        with pytest.raises(MalformedMessage):
            runs.server.evaluate(DECIDE, sent | {("bank", ENCRYPTED_INPUTS): message})


def fixed_bytes(structure: Structure) -> list[int]:
    return [o + i for o, text in structure.fixed for i in range(len(text) // 2)]


def test_changed_byte_in_fixed_part_of_inputs_is_refused(runs, bank):
    header, parts = bank
    structures = runs.server._structures["bank"]
    for which, structure in enumerate(structures):
        positions = fixed_bytes(structure)
        assert len(positions) > 100
        for position in positions:
            damaged = [bytearray(part) for part in parts]
            damaged[which][position] ^= 0x2D
            refused(runs, runs.slot("bank"), seal(header, join_parts(damaged)))


@ENCRYPTED_RUNS
@given(st.data())
def test_inputs_with_altered_values_are_evaluated_safely(runs, sent, bank, data):
    """Accepted messages differ only in numbers, of which any values are valid."""
    header, parts = bank
    which = data.draw(st.integers(0, 1))
    structure = runs.server._structures["bank"][which]
    free = sorted(set(range(structure.size)) - set(fixed_bytes(structure)))
    damaged = [bytearray(part) for part in parts]
    for position in data.draw(st.lists(st.sampled_from(free), min_size=1, max_size=30)):
        damaged[which][position] = data.draw(st.integers(0, 255))
    message = seal(header, join_parts(damaged))
    runs.server.check(runs.slot("bank"), message)
    opened = runs.opened(DECIDE, sent | {("bank", ENCRYPTED_INPUTS): message})
    assert -128 <= opened[0] < 128  # noise may reach the padding bit


@pytest.fixture(scope="module")
def key(runs):
    header, payload = unseal(runs.keys.evaluation)
    return header, bytes(payload)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: b"",
        lambda key: b"x",
        lambda key: key[:100],
        lambda key: key[: len(key) // 2],
        lambda key: key[:-1],
        lambda key: key + b"\0",
        lambda key: key + key,
        lambda key: key[8:] + key[:8],
        lambda key: bytes(len(key)),
        lambda key: os.urandom(len(key)),
    ],
)
def test_key_with_other_structure_is_refused(runs, sent, key, change):
    header, payload = key
    message = seal(header, change(payload))
    assert "make the keys again" in refused(runs, runs.key_slot, message)
    with pytest.raises(MalformedMessage):
        runs.server.evaluate(DECIDE, sent | {(runs.holder, EVALUATION_KEY): message})


@FEW
@given(st.data())
def test_a_damaged_fixed_part_of_the_key_is_refused(runs, key, data):
    header, payload = key
    damaged = bytearray(payload)
    position = data.draw(st.sampled_from(fixed_bytes(runs.server._keys._structure)))
    damaged[position] ^= data.draw(st.integers(1, 255))
    refused(runs, runs.key_slot, seal(header, bytes(damaged)))


def test_bytes_with_digest_of_accepted_key_are_still_checked(runs):
    runs.server.check(runs.key_slot, runs.keys.evaluation)
    refused(runs, runs.key_slot, b"anything" + runs.keys.evaluation[-32:])


def test_random_key_with_valid_structure_is_harmless(runs, sent, key):
    header, payload = key
    noise = bytearray(os.urandom(len(payload)))
    for offset, text in runs.server._keys._structure.fixed:
        noise[offset : offset + len(text) // 2] = bytes.fromhex(text)
    message = seal(header, bytes(noise))
    runs.server.check(runs.key_slot, message)
    opened = runs.opened(DECIDE, sent | {(runs.holder, EVALUATION_KEY): message})
    assert abs(opened[0]) <= 128  # some number of 7 bits and the bit of padding


@FIXTURES
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_everywhere(runs, content):
    for slot in runs.server.public.slots:
        refused(runs, slot, content)
    with pytest.raises(MalformedMessage):
        runs.party.open(DECIDE, content, runs.keys.secret)


def test_a_message_of_another_party_kind_model_or_engine_is_refused(runs, sent, layout):
    slot = runs.slot("bank")
    party = refused(runs, slot, sent["applicant", ENCRYPTED_INPUTS], ForeignMessage)
    assert "another party (applicant)" in party
    assert "another kind" in refused(
        runs, runs.slot("applicant"), runs.keys.evaluation, ForeignMessage
    )
    refused(runs, runs.key_slot, sent["applicant", ENCRYPTED_INPUTS], ForeignMessage)
    header, payload = unseal(sent["bank", ENCRYPTED_INPUTS])
    newer = header.model_copy(update={"model": "f" * 32})
    assert "another model" in refused(runs, slot, seal(newer, bytes(payload)), ForeignMessage)
    profile = header.model_copy(update={"profile": "5bit"})
    assert "another profile" in refused(runs, slot, seal(profile, bytes(payload)), ForeignMessage)
    clear = ClearParty(runs.server.public)
    other = clear.encrypt("bank", layout.bits_of_states(sample_states(layout, 1, 1))[0][:11], b"")
    assert "another engine (clear)" in refused(runs, slot, other, ForeignMessage)


def test_a_result_of_another_program_or_model_is_refused(runs, result):
    with pytest.raises(ForeignMessage, match="another program"):
        runs.party.open(EXPLAIN, result, runs.keys.secret)
    public = runs.server.public.model_copy(update={"model_version": "f" * 32})
    newer = ConcreteParty(public, runs.server.client_files())
    with pytest.raises(ForeignMessage, match="another model"):
        newer.open(DECIDE, result, runs.keys.secret)


def test_unreadable_result_is_refused(runs, sent, result):
    header, payload = unseal(result)
    (part,) = read_parts(payload, 1)
    for parts in ([], [b""], [part, part], [part[:1000]], [os.urandom(len(part))], [part[8:]]):
        with pytest.raises(MalformedMessage, match="fetch it again"):
            runs.party.open(DECIDE, seal(header, join_parts(parts)), runs.keys.secret)
    (own,) = read_parts(unseal(sent["bank", ENCRYPTED_INPUTS])[1], 2)[:1]
    with pytest.raises(MalformedMessage):  # a ciphertext, but of many numbers
        runs.party.open(DECIDE, seal(header, join_parts([own])), runs.keys.secret)


@pytest.mark.parametrize("secret", [b"", b"no key", bytes(1000), b"\xff" * 1000])
def test_invalid_secret_is_refused(runs, layout, result, secret):
    bits = layout.bits_of_states(sample_states(layout, 1, seed=1))[0][layout.party_bits("bank")]
    with pytest.raises(MalformedMessage, match="make the keys again"):
        runs.party.encrypt("bank", bits, secret)
    with pytest.raises(MalformedMessage, match="make the keys again"):
        runs.party.open(DECIDE, result, secret)


@pytest.mark.parametrize(
    "files", [b"", b"no zip", EMPTY_ZIP, pack({"client.specs.json": b"{}"}), pack({"other": b""})]
)
def test_unreadable_client_files_are_refused(runs, files):
    with pytest.raises(MalformedMessage, match="load them again"):
        ConcreteParty(runs.server.public, files)


def test_library_failure_raises_typed_error(runs, sent, monkeypatch):
    class Failing:
        def run(self, *_, **__):
            raise RuntimeError("native trouble")

    monkeypatch.setattr(runs.server, "_server", Failing())
    with pytest.raises(EvaluationFailed, match="send keys and inputs again"):
        runs.server.evaluate(DECIDE, sent)


def test_a_deployment_without_structures_or_of_another_library_is_refused(runs, monkeypatch):
    deployment = Deployment.load(runs.folder)
    other = deployment.manifest.versions | {"concrete-python": "1.0"}
    manifest = deployment.manifest.model_copy(update={"versions": other})
    with pytest.raises(DeploymentMixed, match=r"concrete-python 1\.0"):
        ConcreteServer(Deployment(runs.folder, manifest, runs.layout, runs.programs))
    monkeypatch.setattr("engines.concrete.server.STRUCTURE_FILE", "gone.json")
    with pytest.raises(DeploymentMissing, match=r"gone\.json is missing"):
        ConcreteServer(deployment)


@FIXTURES
@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=6), st.data())
def test_structure_matches_its_samples_and_their_common_bytes(words, data):
    others = [word ^ data.draw(st.sampled_from([0, 1, 2**63])) for word in words]
    one, other = (b"".join(w.to_bytes(8, "little") for w in own) for own in (words, others))
    structure = Structure.of(one, other)
    assert structure.holds(one)
    assert structure.holds(memoryview(other))
    assert not structure.holds(one[:-1])
    assert not structure.holds(one + b"\0")
    shared = {8 * i + j for i, w in enumerate(words) if w == others[i] for j in range(8)}
    assert set(fixed_bytes(structure)) == shared
    for position in shared:
        damaged = bytearray(one)
        damaged[position] ^= 1
        assert not structure.holds(bytes(damaged))
