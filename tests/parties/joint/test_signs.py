"""Applications that open signs only: the scores open under masks, and are compared with 0."""

import pytest

from engines.interface import DECIDE, EXPLAIN, MASKED_OF, MASKS_OF, SIGN_OF
from parties.joint.codes import open_joint
from parties.joint.messages import RECORD_COMMIT, RecordCommit
from tests.parties.joint.group import Group
from trials.joint_stand_in import header, pack, public_model, seal
from utils.errors import AlreadyOpened, InvalidRequest, OutOfStep, PartiesDisagree

A, B, C = "applicant", "bank", "credit_agency"


def signs(scores):
    return tuple(0.0 if score >= 0 else -1.0 for score in scores)


@pytest.mark.parametrize("readers", [None, [C], [A, B]])
def test_readers_learn_signs_and_nobody_a_score(signs_group, readers):
    members = signs_group(readers).pump().send()
    members.agree(DECIDE).pump()
    members.agree(EXPLAIN).pump()
    for name, member in members.members.items():
        expected = {sign: signs(members.truth(base)) for base, sign in SIGN_OF.items()}
        assert member.own.remembered.scores == (expected if name in member.readers else {})
        if name in member.readers:
            assert member.decision.score is None and member.decision.log_odds is None
            assert member.decision.approved is (members.truth(DECIDE)[0] >= 0)
            assert member.explanation.explanation.opened == expected[SIGN_OF[EXPLAIN]]


def test_restart_before_every_step_gives_the_same_signs(signs_group):
    members = signs_group().pump_restarting().send()
    members.agree(DECIDE).pump_restarting()
    members.agree(EXPLAIN).pump_restarting()
    for member in members.members.values():
        assert member.explanation.explanation.opened == signs(members.truth(EXPLAIN))


def test_keys_are_erased_after_the_last_sign(signs_group):
    members = signs_group([C]).pump().send()
    members.agree(DECIDE).pump()
    assert all("secret_key" in members.files(name) for name in members.names)
    members.agree(EXPLAIN).pump()
    for name in members.names:
        assert not {"secret_key", "identity"} & set(members.files(name))


def test_masks_are_encrypted_once_and_named_in_the_agreement(signs_group):
    members = signs_group().pump().send()
    members.agree(DECIDE)
    sent = members[B].own.state.sha256_of(B, MASKS_OF[DECIDE])
    committed = members[B].own.protocol.conversation.state.said(RecordCommit, RECORD_COMMIT)
    assert committed[B].masks == sent
    members.restart(B).agree(DECIDE)
    assert members[B].own.protocol.agreements(DECIDE)[B].masks == sent
    assert (
        members.client.state(members.opening.client_id, members[B].own.token).sha256_of(
            B, MASKS_OF[DECIDE]
        )
        == sent
    )


@pytest.mark.parametrize("changed", ["masks", "masked scores"])
def test_signs_of_other_masks_or_masked_scores_are_not_opened(signs_group, changed):
    """A server, or a party with it, replaces a file after the agreement."""
    members = signs_group().pump().send()
    for member in members.members.values():
        member.own._asking = Never()
    members.agree(DECIDE)
    party, name = (B, MASKS_OF[DECIDE]) if changed == "masks" else (A, MASKED_OF[DECIDE])
    members.connections[A].client.queue(members.opening.client_id, members[A].own.token, DECIDE)
    members.pump()
    forged = seal(header(name, party), pack(7))
    members.client.send_file(
        members.opening.client_id, party, name, forged, members[party].own.token
    )
    run = (members.opening.client_id, members[A].own.token, SIGN_OF[DECIDE])
    members.client.queue(*run)
    for name in (A, C):
        with pytest.raises(PartiesDisagree, match="than was agreed to"):
            for _ in range(3):
                members[name].advance()
        assert members[name].decision is None
        assert not [e for e in members[name].events if e.what == f"partial:{SIGN_OF[DECIDE]}"]


class Never:
    """A party that requests no run."""

    def due(self, *_):
        return None

    def seconds(self, *_):
        return float("inf")


def test_comparison_comes_after_its_program(signs_group):
    members = signs_group().pump().send()
    run = (members.opening.client_id, members[A].own.token, SIGN_OF[DECIDE])
    with pytest.raises(OutOfStep, match="comes after decide"):
        members.client.queue(*run)
    with pytest.raises(OutOfStep, match="open the decision first"):
        members[A].agree(EXPLAIN)
    state = members.client.state(members.opening.client_id, members[A].own.token)
    assert state.sha256_of(A, MASKS_OF[EXPLAIN]) is None  # refused before the masks were sent


def test_masked_share_is_made_for_one_result_only(signs_group):
    members = signs_group().pump().send()
    members.agree(DECIDE).pump()
    with pytest.raises(AlreadyOpened):
        members[B].own.protocol.open(DECIDE, b"another result")


def test_explanation_goes_to_the_applicant_and_the_columns_owner_only(signs_group):
    """By default; the others contribute their shares and learn nothing of it."""
    members = signs_group(explained=[A])
    default = open_joint(members.client)
    owner = members.schema.explained_party
    assert default.readers == (A, B, C)
    assert set(default.explanation_readers) == {A, owner}
    assert open_joint(members.client, [B, C]).explanation_readers == (owner,)
    assert open_joint(members.client, [B]).explanation_readers == (B,)  # neither of the two reads
    members.pump().send().agree(DECIDE).pump()
    members.agree(EXPLAIN).pump()
    assert members[A].explanation is not None
    for name in (B, C):
        assert members[name].decision is not None and members[name].explanation is None
        assert SIGN_OF[EXPLAIN] not in members[name].own.remembered.scores
        received = {e.what for e in members[name].events if e.sender != name}
        assert f"partial:{SIGN_OF[EXPLAIN]}" not in received
        assert not {"secret_key", "identity"} & set(members.files(name))


def test_explanation_reader_must_learn_the_decision(signs_group):
    members = signs_group()
    for wrong in ([C], [A, C], []):
        with pytest.raises(InvalidRequest):
            open_joint(members.client, [A, B], wrong)


def test_parties_with_different_readers_of_the_explanation_make_no_key():
    group = Group(public=public_model(signs=True))
    told = group.start(B, explanation_readers=(A,)).pending()[0]
    with pytest.raises(PartiesDisagree, match="readers of the explanation"):
        group.protocols[A].receive(B, "hello", None, told.body)
