"""The clear engine: the whole interface, exact scores, and no protection."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.clear import ClearParty, ClearServer
from engines.deployment import Deployment
from engines.envelope import seal, unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN, PROGRAMS, PublicModel, slot_of
from model.polynomial import sample_states
from model.reference import reference_scores
from tests.strategies import QUICK
from utils.errors import ForeignMessage, MalformedMessage

FIXTURES = settings(QUICK, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def server(clear_deployment):
    return ClearServer(Deployment.load(clear_deployment))


@pytest.fixture(scope="module")
def party(server):
    return ClearParty(server.public)


@pytest.fixture(scope="module")
def row(layout):
    return layout.bits_of_states(sample_states(layout, 1, seed=3))[0]


def messages(party, layout, row):
    return {
        (name, ENCRYPTED_INPUTS): party.encrypt(name, row[layout.party_bits(name)], b"")
        for name in layout.schema.party_names
    }


def test_both_programs_open_to_the_reference(server, party, layout, small_programs, credit_data):
    extreme = layout.bits_of_states(small_programs[DECIDE].extreme_rows)
    for row in [*extreme, *credit_data[1][0][:20]]:
        sent = messages(party, layout, row)
        for name in PROGRAMS:
            opened = party.open(name, server.evaluate(name, sent), b"")
            assert opened == reference_scores(small_programs[name], row)


def test_every_message_fits_its_slot_and_passes_its_check(server, party, layout, row):
    sent = messages(party, layout, row)
    slots = {(slot.party, slot.file_name): slot for slot in server.public.slots}
    assert set(slots) == set(sent)
    for key, message in sent.items():
        assert len(message) <= slots[key].maximum_bytes
        server.check(slots[key], message)
        assert slots[key].needed_for == PROGRAMS
        assert slot_of(server.public.slots, *key) == slots[key]
    assert slot_of(server.public.slots, "bank", "key") is None


def test_a_message_of_another_party_or_model_is_refused(server, party, layout, row):
    sent = messages(party, layout, row)
    slot = slot_of(server.public.slots, "bank", ENCRYPTED_INPUTS)
    with pytest.raises(ForeignMessage, match="another party"):
        server.check(slot, sent["applicant", ENCRYPTED_INPUTS])
    public = server.public.model_copy(update={"model_version": "f" * 32})
    other = ClearParty(public).encrypt("bank", row[layout.party_bits("bank")], b"")
    with pytest.raises(ForeignMessage, match="another model"):
        server.check(slot, other)
    with pytest.raises(ForeignMessage):
        server.evaluate(DECIDE, sent | {("bank", ENCRYPTED_INPUTS): other})


@pytest.mark.parametrize("change", ["shorter", "longer", "two", "empty"])
def test_payload_of_invalid_bits_is_refused(server, party, layout, row, change):
    message = messages(party, layout, row)["bank", ENCRYPTED_INPUTS]
    header, payload = unseal(message)
    bits = bytes(payload)
    changed = {"shorter": bits[:-1], "longer": bits + b"\0", "two": b"\2" + bits[1:], "empty": b""}
    slot = slot_of(server.public.slots, "bank", ENCRYPTED_INPUTS)
    with pytest.raises(MalformedMessage, match="not the 11 bits of bank"):
        server.check(slot, seal(header, changed[change]))


@FIXTURES
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_as_inputs_and_as_results(server, party, content):
    with pytest.raises(MalformedMessage):
        server.check(server.public.slots[0], content)
    with pytest.raises(MalformedMessage):
        party.open(DECIDE, content, b"")


@FIXTURES
@given(
    st.binary(max_size=20)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_malformed_result_is_refused(server, party, layout, row, content):
    header, _ = unseal(server.evaluate(EXPLAIN, messages(party, layout, row)))
    try:
        opened = party.open(EXPLAIN, seal(header, content), b"")
    except MalformedMessage as error:
        assert error.message
    else:
        assert len(opened) == 6
        assert all(isinstance(score, int) for score in opened)


def test_a_result_of_the_other_program_is_refused(server, party, layout, row):
    result = server.evaluate(DECIDE, messages(party, layout, row))
    with pytest.raises(ForeignMessage, match="another program"):
        party.open(EXPLAIN, result, b"")


def test_progress_ends_at_one(server, party, layout, row):
    told = []
    server.evaluate(DECIDE, messages(party, layout, row), told.append)
    assert told[-1] == 1.0


def test_the_facts_state_that_nothing_is_protected(server, party):
    assert not server.facts.encrypted
    assert not server.facts.joint_keys
    assert "encrypts nothing" in server.facts.secret_key
    keys = party.make_keys()
    assert (keys.secret, keys.evaluation) == (b"", b"")


def test_public_model_round_trips_as_json(server, schema):
    text = server.public.model_dump_json()
    assert '"schema":' in text
    assert PublicModel.model_validate_json(text) == server.public
    assert server.public.schema_ == schema


def test_secret_is_hidden_in_repr(server):
    keys = ClearParty(server.public).make_keys().model_copy(update={"secret": b"hush-hush"})
    assert "hush" not in repr(keys) + str(keys)
