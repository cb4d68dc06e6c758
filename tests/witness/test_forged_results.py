"""Forged results are refused before any part is given; without a witness they are opened."""

from dataclasses import replace

import pytest

from engines.interface import DECIDE
from engines.statement import Statement
from trials.witness import FAMILIES, Scene, deliver, forge, is_refused
from utils.errors import PartiesDisagree, ResultNotWitnessed

COUNT = 42
SHOWN = {"other bits", "other program", "one coefficient", "chosen mask"}
"""The families of which the witness sees the forged result; the others show it something else."""


@pytest.fixture(scope="module")
def scene(levelled_deployment):
    return Scene(levelled_deployment)


@pytest.fixture(scope="module")
def unwitnessed(levelled_deployment):
    return Scene(levelled_deployment, witnessed=False)


def test_every_forged_result_is_refused_before_any_part_is_given(scene):
    families = set()
    for number in range(COUNT):
        forgery = forge(scene, number)
        families.add(forgery.family)
        assert (forgery.refusal == "result_differs") == (forgery.family in SHOWN)
        assert is_refused(scene, forgery), (number, forgery.family)
    assert len(families) == len(FAMILIES)


@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_without_a_witness_the_forged_result_is_opened(unwitnessed, number):
    result = forge(unwitnessed, number).result
    for party in opened_by_all(unwitnessed, result, {}):
        assert party.opened(DECIDE) is not None
        assert any(message.step == "partial:decide" for message in party.pending())


def test_server_cannot_name_different_witnesses_to_the_parties(scene):
    """Without the comparison, one party would open what its own, false witness has signed."""
    one, *others = scene.names
    for false in ({}, {"0" * 64: "Auditor"}):
        named = {name: {scene.public_hex: "Auditor"} for name in others} | {one: false}
        with pytest.raises(PartiesDisagree, match="TRISEAL_TRUSTED_WITNESSES"):
            deliver({name: scene.joined(name, named[name]) for name in scene.names})
    named = {name: {scene.public_hex: f"Auditor of {name}"} for name in scene.names}
    parties = {name: scene.joined(name, named[name]) for name in scene.names}
    deliver(parties)
    assert all(party.ready for party in parties.values())


def test_honest_result_is_signed_and_opened(scene):
    seed = bytes(range(32))
    result = scene.honest(seed)
    signature, refusal = scene.signed(scene.messages, result, seed)
    assert refusal is None
    party = scene.copy_of(scene.names[0])
    for given in ({}, {"0" * 64: signature}):
        with pytest.raises(ResultNotWitnessed):
            party.open(DECIDE, result, given)
    for party in opened_by_all(scene, result, {scene.public_hex: signature}):
        assert any(message.step == "partial:decide" for message in party.pending())


@pytest.mark.parametrize("left_out", ["application", "result"])
def test_signature_that_leaves_the_place_out_is_replayed(scene, monkeypatch, left_out):
    """Control: a statement without its application, or without its result, counts for any."""

    def blind(statement):
        field = {"application": "application", "result": "result_sha256"}[left_out]
        return whole(replace(statement, **{field: ""}))

    whole = Statement.to_bytes
    monkeypatch.setattr(Statement, "to_bytes", blind)
    families = {"application": "other application", "result": "replay"}
    number = [f.__name__.strip("_").replace("_", " ") for f in FAMILIES].index(families[left_out])
    forgery = forge(scene, number)
    assert forgery.family == families[left_out]
    given = {scene.public_hex: forgery.signature}
    assert all(p.opened(DECIDE) for p in opened_by_all(scene, forgery.result, given))


def opened_by_all(scene, result, signatures):
    """Have copies of all parties confirm the result and make their shares; return them."""
    copies = {name: scene.copy_of(name) for name in scene.names}
    for party in copies.values():
        party.open(DECIDE, result, signatures)
    deliver(copies)
    for party in copies.values():
        party.open(DECIDE, result, signatures)
    return copies.values()
