"""Key generation, from the hellos to the public key.

Follows Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, "Multiparty homomorphic encryption from
ring-learning-with-errors", PETS 2021, section IV, with a commitment before every share of the key,
since the last party to send could otherwise choose the key. The common polynomial is expanded from
a hash of the shares of randomness in all hellos. A share without its secret is detected by the
first opening, whose known zeros do not open to 0.
"""

from __future__ import annotations

import os

from engines.interface import JointPartyEngine
from parties.joint.channel import commitment, framed
from parties.joint.conversation import Conversation
from parties.joint.messages import (
    HELLO,
    KEY_STEPS,
    SHARE_COMMIT,
    SHARE_OPEN,
    Hello,
    ShareCommit,
    ShareOpen,
)

NONCE_BYTES = 32


class KeyMaking:
    """Sends this party's messages of the key generation, with shares made by the engine."""

    def __init__(self, engine: JointPartyEngine, talk: Conversation) -> None:
        self._engine, self._talk = engine, talk

    def go_on(self) -> None:
        """Send every message that is due.

        Raises MalformedMessage for an invalid share.
        """
        replies = {
            HELLO: self._commit_share,
            SHARE_COMMIT: self._open_share,
            SHARE_OPEN: self._add_shares,
        }
        for step, following in zip(KEY_STEPS, (*KEY_STEPS[1:], ""), strict=True):
            state = self._talk.state
            done = self._talk.party in state.senders(following) if following else state.ready
            if not done and self._talk.all_said(step):
                replies[step]()

    def _commit_share(self) -> None:
        made = self._engine.key_share(self._common())
        self._talk.secret, self._talk.state.share = made.secret, made.share
        self._talk.say(SHARE_COMMIT, ShareCommit(digest=self._commit(SHARE_COMMIT, made.share)))

    def _open_share(self) -> None:
        state = self._talk.state
        self._talk.say(SHARE_OPEN, ShareOpen(share=state.share, nonce=state.nonces[SHARE_COMMIT]))

    def _add_shares(self) -> None:
        said = self._talk.state.said(ShareOpen, SHARE_OPEN)
        shares = {name: message.share for name, message in said.items()}
        self._talk.state.public_key = self._engine.collective_key(self._common(), shares)

    def _common(self) -> bytes:
        said = self._talk.state.said(Hello, HELLO)
        context = framed(
            self._talk.application.encode(),
            self._talk.public.model_version.encode(),
            *(name.encode() for name in sorted(self._talk.names)),
        )
        return self._engine.common(context, {name: m.seed for name, m in said.items()})

    def _commit(self, step: str, value: bytes) -> str:
        nonce = self._talk.state.nonces[step] = os.urandom(NONCE_BYTES)
        return commitment(self._talk.application, self._talk.party, step, nonce, value)
