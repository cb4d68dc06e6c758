"""The messages that one call to the relay posts."""

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.trainings import LARGEST_POST, LARGEST_TRAINING_MESSAGE, MOST_POSTED
from federated.agents.lender_agent import without_repeats
from federated.agents.membership import Membership, Pending
from federated.agents.posting import Posting
from federated.aggregation.statement import Step
from federated.protocol.messages import Back, Revealed
from parties.joint.channel import GROUP_SECRET_BYTES
from parties.joint.identities import IdentityKey
from parties.trainings_client import TrainingNews


class Relay:
    """A client that notes the calls and has no messages."""

    def __init__(self):
        self.calls = []

    def exchange(self, training_id, token, posts, after, wait, least, linger):
        self.calls.append(([post.number for post in posts], wait))
        assert len(posts) <= MOST_POSTED
        assert sum(len(post.body) for post in posts) <= LARGEST_POST
        return TrainingNews([], after, "open", False, False)


def posting(count, size):
    member = Membership.fresh(
        *("0" * 32, "lender_1", ["lender_1", "lender_2", "lender_3"], "token"),
        os.urandom(GROUP_SECRET_BYTES),
        IdentityKey(Ed25519PrivateKey.generate()),
        {},
    )
    member.state.pending = [Pending(number=n, to=None, body=bytes(size)) for n in range(1, count)]
    relay = Relay()
    return Posting(relay, member), member, relay


def test_more_messages_than_a_call_takes_are_posted_by_several_calls_in_order():
    own, member, relay = posting(150, 10)
    for _ in range(3):
        own.exchange(20.0)
    numbers = [number for call, _ in relay.calls for number in call]
    assert numbers == list(range(1, 150))
    assert [wait for _, wait in relay.calls] == [0.0, 0.0, 20.0]  # only the last one waits
    assert own.sent == 1490 and member.state.pending == []


def test_large_messages_are_divided_by_their_bytes():
    own, member, relay = posting(50, LARGEST_TRAINING_MESSAGE)
    own.exchange(1.0)
    assert len(relay.calls[0][0]) == LARGEST_POST // LARGEST_TRAINING_MESSAGE
    assert len(member.state.pending) == 49 - len(relay.calls[0][0])


def test_a_lender_that_returns_announces_itself_once():
    """It has a message of each step that it missed, and would respond to each of them."""
    revealed = Revealed(step=Step(tree=1), seed=bytes(32))
    sent = [Back(results=1), Back(results=1), revealed, Back(results=9)]
    assert without_repeats(sent) == [revealed, Back(results=9)]
    assert without_repeats([revealed]) == [revealed]
