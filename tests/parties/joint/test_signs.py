"""Applications that open signs only: the scores open under masks, and are compared with 0."""

from types import SimpleNamespace

import pytest

from engines.interface import DECIDE, EXPLAIN, MASKED_OF, MASKS_OF, PROGRAMS, REASONS, SIGN_OF
from model.reasons import principal_reasons
from parties.agent import ApplicationAgent
from parties.command import attend
from parties.joint.codes import open_joint
from parties.joint.messages import RECORD_COMMIT, RecordCommit
from tests.parties.joint.group import Group
from trials.joint_stand_in import header, opened_of, pack, public_model, seal
from utils.errors import AlreadyOpened, InvalidRequest, OutOfStep, PartiesDisagree

A, B, C = "applicant", "bank", "credit_agency"


DENIED = {
    A: {"Age": 21, "Total_income": 30000},
    B: {"Account_age": 0},
    C: {"Years_employed": 0},
}


def opened(members, program, **changed):
    """Return the values that the comparison of a program opens: signs, or levels of points."""
    return tuple(float(opened_of(program, score)) for score in members.truth(program, **changed))


def explained(members):
    for program in (REASONS, EXPLAIN):
        members.agree(program).pump()
    return members


@pytest.mark.parametrize("readers", [None, [C], [A, B]])
def test_readers_learn_signs_and_nobody_a_score(signs_group, readers):
    members = signs_group(readers).pump().send()
    explained(members.agree(DECIDE).pump())
    reads_reasons = [A] if readers is None or A in readers else readers
    for name, member in members.members.items():
        read = [p for p in PROGRAMS if name in (reads_reasons if p == REASONS else member.readers)]
        expected = {SIGN_OF[program]: opened(members, program) for program in read}
        assert member.own.remembered.scores == expected
        assert (member.reasons is not None) is (name in reads_reasons)
        if name in member.readers:
            assert member.decision.score is None and member.decision.log_odds is None
            assert member.decision.approved is (members.truth(DECIDE)[0] >= 0)
            assert member.explanation.explanation.opened == opened(members, EXPLAIN)


def test_restart_before_every_step_gives_the_same_signs(signs_group):
    members = signs_group().pump_restarting().send()
    members.agree(DECIDE).pump_restarting()
    members.agree(REASONS).pump_restarting()
    members.agree(EXPLAIN).pump_restarting()
    for member in members.members.values():
        assert member.explanation.explanation.opened == opened(members, EXPLAIN)
    assert members[A].reasons.values == opened(members, REASONS)


def test_keys_are_erased_after_the_last_sign(signs_group):
    members = signs_group([C]).pump().send()
    members.agree(DECIDE).pump()
    for program in (EXPLAIN, REASONS):
        assert all("secret_key" in members.files(name) for name in members.names)
        members.agree(program).pump()
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
    for program in (EXPLAIN, REASONS):
        with pytest.raises(OutOfStep, match="open the decision first"):
            members[A].agree(program)
    state = members.client.state(members.opening.client_id, members[A].own.token)
    for program in (EXPLAIN, REASONS):
        assert state.sha256_of(A, MASKS_OF[program]) is None  # refused before the masks were sent


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
    explained(members.pump().send().agree(DECIDE).pump())
    assert members[A].explanation is not None
    for name in (B, C):
        assert members[name].decision is not None and members[name].explanation is None
        assert SIGN_OF[EXPLAIN] not in members[name].own.remembered.scores
        received = {e.what for e in members[name].events if e.sender != name}
        assert f"partial:{SIGN_OF[EXPLAIN]}" not in received
        assert not {"secret_key", "identity"} & set(members.files(name))


@pytest.mark.parametrize("named", ["explanation_readers", "reasons_readers"])
def test_reader_of_explanation_or_reasons_must_learn_the_decision(signs_group, named):
    members = signs_group()
    for wrong in ([C], [A, C], []):
        with pytest.raises(InvalidRequest, match=named):
            open_joint(members.client, [A, B], **{named: wrong})


def test_reasons_go_to_the_applicant_alone_unless_others_are_named(signs_group):
    """Their levels are opened by shares that no other party receives."""
    members = signs_group()
    owner = members.schema.explained_party
    assert open_joint(members.client).reasons_readers == (A,)
    assert open_joint(members.client, [B, C]).reasons_readers == (owner,)  # as the explanation
    members.pump().send().agree(DECIDE).pump().agree(REASONS).pump()
    assert members[A].reasons.values == opened(members, REASONS)
    for name in (B, C):
        assert members[name].decision is not None and members[name].reasons is None
        received = {e.what for e in members[name].events if e.sender != name}
        assert f"partial:{SIGN_OF[REASONS]}" not in received
    named = signs_group(name="named", reasons=[B, C]).pump().send()
    named.agree(DECIDE).pump().agree(REASONS).pump()
    assert named[A].reasons is None
    assert named[B].reasons.values == named[C].reasons.values == opened(named, REASONS)


@pytest.mark.parametrize("denied", [True, False])
def test_reasons_are_stated_for_a_denial_only(signs_group, denied):
    changed = DENIED if denied else {}
    members = signs_group().pump().send(**changed)
    members.agree(DECIDE).pump().agree(REASONS).pump()
    found, levels = members[A].reasons, opened(members, REASONS, **changed)
    assert members[A].decision.approved is found.approved is not denied
    assert found.values == levels and sum(level > 0 for level in levels) > 4
    expected = principal_reasons(members.schema, levels) if denied else []
    assert list(found.reasons) == expected and len(expected) <= 4
    assert found.text.startswith("1. " if denied else "The application was approved")
    assert members.restart(A).reasons.reasons == found.reasons


def test_the_terminal_prints_the_reasons(signs_group, capsys):
    members = signs_group().pump().send(**DENIED)
    members.agree(DECIDE).pump().agree(REASONS).pump()
    found = members[A].reasons
    for name in (A, B):
        party = SimpleNamespace(
            party=members.schema.party(name), connection=members.connections[name]
        )
        attend(party, ApplicationAgent(members[name]), None, (DECIDE, REASONS))
    printed = capsys.readouterr().out
    for number, sentence in enumerate(found.sentences, 1):
        assert f"Applicant: reason {number}: {sentence}\n" in printed
    assert f"Applicant: {found.remark}\n" in printed and printed.count(": reason ") == 4
    assert "Bank: reasons is finished; this party is not among its readers." in printed


@pytest.mark.parametrize("result", ["explanation", "reasons"])
def test_parties_with_different_readers_make_no_key(result):
    group = Group(public=public_model(signs=True))
    told = group.start(B, **{f"{result}_readers": (A,)}).pending()[0]
    with pytest.raises(PartiesDisagree, match=f"readers of the {result}"):
        group.protocols[A].receive(B, "hello", None, told.body)


@pytest.mark.parametrize("signs", [False, True])
def test_a_model_without_reasons_has_no_readers_and_no_step_for_them(signs):
    group = Group(public=public_model(signs=signs, reasons=False)).ready()
    assert all(not protocol.readers_of(REASONS) for protocol in group.protocols.values())
    with pytest.raises(OutOfStep, match="no program 'reasons'"):
        group.protocols[A].agree(REASONS, {})
