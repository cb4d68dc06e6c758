"""The coordinator refuses each lender's wrong message, names the lender and takes nothing of it."""

from dataclasses import replace

import numpy as np
import pytest

from federated.aggregation.coordinator_side import Opening
from federated.aggregation.statement import Step
from tests.federated.aggregation.lenders import (
    TRANSCRIPT,
    Lenders,
    plain_sum,
    reveal_all,
    root,
    upload_all,
    vectors,
)
from utils.errors import (
    LenderAtFault,
    MessageOutOfOrder,
    RevealInvalid,
    RosterRefused,
    SignatureInvalid,
    UnknownLender,
    UploadInvalid,
    UploadRepeated,
)

LENDERS = Lenders(5)
ME = LENDERS.names[2]
VALUES = vectors(LENDERS.names)
ROOT = root()
FOUR = LENDERS.names[:4]


def sent(step=ROOT, roster=LENDERS.names, transcript=TRANSCRIPT, length=6, name=ME):
    """Return a lender's upload, from its first state."""
    values = vectors(LENDERS.names, length=length)[name]
    return LENDERS.copies()[name].upload(step, roster, transcript, values)


RIGHT = sent()


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (sent(root(1)), UploadInvalid, "tree 1, level 0, attempt 0"),
        (sent(root(0, 1)), UploadInvalid, "attempt 1"),
        (sent(roster=FOUR), UploadInvalid, "another roster"),
        (sent(transcript=bytes(32)), UploadInvalid, "another history"),
        (sent(length=5), UploadInvalid, "5 numbers, not 6"),
        (sent(length=7), UploadInvalid, "7 numbers, not 6"),
        (replace(RIGHT, masked=b""), UploadInvalid, "0 numbers"),
        (replace(RIGHT, masked=RIGHT.masked + b"\0"), UploadInvalid, "numbers"),
        (replace(RIGHT, shares=RIGHT.shares[1:]), UploadInvalid, "shares"),
        (replace(RIGHT, shares=(*RIGHT.shares[1:], b"")), UploadInvalid, "shares"),
        (replace(RIGHT, commitment=bytes(31)), UploadInvalid, "commitment"),
        (replace(RIGHT, signature=bytes(64)), SignatureInvalid, "not signed"),
        (replace(RIGHT, signature=b""), SignatureInvalid, "not signed"),
        (replace(RIGHT, signature=sent(name=FOUR[0]).signature), SignatureInvalid, "not signed"),
        (replace(RIGHT, signature=sent(root(1)).signature), SignatureInvalid, "not signed"),
    ],
)
def test_a_wrong_upload_is_refused_and_its_lender_named(wrong, error, says):
    opening = LENDERS.opening(root())
    with pytest.raises(error, match=says) as refused:
        opening.take_upload(ME, wrong)
    assert refused.value.lender == ME
    assert ME in refused.value.message
    assert opening.missing_uploads == LENDERS.names
    opening.take_upload(ME, RIGHT)
    assert ME not in opening.missing_uploads


def test_a_repeated_upload_is_harmless_and_another_is_refused():
    opening = LENDERS.opening(root())
    opening.take_upload(ME, RIGHT)
    opening.take_upload(ME, sent())
    changed = replace(RIGHT, masked=bytes(len(RIGHT.masked)))
    with pytest.raises(UploadRepeated) as refused:
        opening.take_upload(ME, changed)
    assert refused.value.lender == ME
    for name in LENDERS.names:
        opening.take_upload(name, sent(name=name))
    machines = LENDERS.copies()
    upload_all(machines, opening, VALUES)
    reveal_all(machines, opening)
    np.testing.assert_array_equal(opening.sum(), plain_sum(VALUES, LENDERS.names))


@pytest.mark.parametrize("stranger", ["nobody", LENDERS.names[4], ""])
def test_a_lender_that_is_not_on_the_roster_is_refused(stranger):
    opening = LENDERS.opening(root(), FOUR)
    first = FOUR[0]
    for call in (
        lambda: opening.take_upload(stranger, sent(roster=FOUR, name=first)),
        lambda: opening.take_seed(stranger, bytes(32)),
        lambda: opening.shares_for(stranger),
        lambda: opening.take_share(stranger, first, bytes(32)),
        lambda: opening.take_share(first, stranger, bytes(32)),
    ):
        with pytest.raises(UnknownLender) as refused:
            call()
        assert refused.value.lender == stranger


def test_nothing_is_opened_before_all_vectors_are_there():
    opening, machines = LENDERS.opening(root()), LENDERS.copies()
    for name in LENDERS.names[1:]:
        opening.take_upload(
            name, machines[name].upload(root(), LENDERS.names, TRANSCRIPT, VALUES[name])
        )
    assert opening.missing_uploads == LENDERS.names[:1]
    for call in (
        lambda: opening.signatures,
        lambda: opening.take_seed(ME, bytes(32)),
        lambda: opening.shares_for(ME),
        lambda: opening.take_share(ME, LENDERS.names[1], bytes(32)),
        opening.sum,
    ):
        with pytest.raises(MessageOutOfOrder, match=LENDERS.names[0]):
            call()


def test_nobody_gives_a_share_of_its_own_seed():
    opening, machines = LENDERS.opening(ROOT), LENDERS.copies()
    upload_all(machines, opening, VALUES)
    assert ME not in opening.shares_for(ME)
    with pytest.raises(RevealInvalid) as refused:
        opening.take_share(ME, ME, bytes(32))
    assert refused.value.lender == ME


def test_a_seed_taken_from_a_lender_and_its_shares_is_counted_once():
    opening, machines = LENDERS.opening(root()), LENDERS.copies()
    upload_all(machines, opening, VALUES)
    last = LENDERS.names[-1]
    sealed = {name: opening.shares_for(name)[last] for name in LENDERS.names[:-1]}
    reveal_all(machines, opening)
    for name, share in sealed.items():
        opening.take_share(name, last, machines[name].reveal_share(root(), last, share))
    opening.take_seed(last, machines[last].reveal(root(), opening.signatures))
    np.testing.assert_array_equal(opening.sum(), plain_sum(VALUES, LENDERS.names))


@pytest.mark.parametrize(
    "roster",
    [
        LENDERS.names[:3],
        LENDERS.names[::-1],
        (*FOUR[:3], FOUR[2]),
        (*FOUR, "nobody"),
        (),
    ],
    ids=["too small", "unsorted", "twice", "stranger", "empty"],
)
def test_both_sides_refuse_a_bad_roster(roster):
    with pytest.raises(RosterRefused):
        Opening(LENDERS.group, root(), roster, TRANSCRIPT, 6)
    with pytest.raises(RosterRefused):
        LENDERS.copies()[FOUR[0]].upload(root(), roster, TRANSCRIPT, VALUES[FOUR[0]])


def test_every_refusal_says_nothing_of_seeds_or_vectors():
    opening, machines = LENDERS.opening(root()), LENDERS.copies()
    upload_all(machines, opening, VALUES)
    seed = machines[ME].reveal(root(), opening.signatures)
    wrong = bytes([seed[0] ^ 1]) + seed[1:]
    with pytest.raises(LenderAtFault) as refused:
        opening.take_seed(ME, wrong)
    shown = f"{refused.value!r} {opening!r} {machines[ME].state!r} {RIGHT!r}"
    state = machines[ME].state
    for secret in (seed, wrong, state.own_root, *state.pair_roots.values()):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


@pytest.mark.parametrize("length", [0, -1, 2**15 + 1])
def test_an_opening_of_impossible_length_is_refused(length):
    with pytest.raises(ValueError, match="numbers"):
        LENDERS.opening(Step(0), length=length)
