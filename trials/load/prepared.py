"""Applications with keys and ciphertexts made in advance, so that the server does the work.

The calls are those of the parties' own code, in the same order and with bodies of the same sizes;
messages between parties are random, since the server cannot read them. All parties' secrets are in
one process, unlike in a real application.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    PUBLIC_KEY,
    SIGN_OF,
    PartyEngine,
    PublicModel,
    slot_of,
)
from engines.registry import load_joint_party_engine, load_party_engine
from parties.client import ServerClient
from training.measure.joint_parties import JointParties
from trials.load.parties import ANSWER_SECONDS, home_of, patiently
from trials.load.timing import Call, TimedTransport
from trials.load.work import Application, Opened, Work
from trials.permits import PermitKeys

KEY_STEPS = {
    "hello": 825,
    "share_commit": 196,
    "share_open": 22034,
}
"""Messages of each party to all during key generation, with their sizes in bytes."""
_COMMIT_BYTES = 271
_OPEN_STEPS = {"agree": 603, "confirm": 222, "partial": 330}


@dataclass(frozen=True)
class Prepared:
    """One application's secrets, and its sealed messages by (party, file name).

    `masks` are the parties' masks of each masked program that the application runs, `challenge` the
    message for the check of the inputs, if there is one.
    """

    secret: bytes
    messages: dict[tuple[str, str], bytes]
    masks: dict[str, dict[tuple[str, str], bytes]]
    challenge: dict[tuple[str, str], bytes]


class Preparation:
    """Makes keys and ciphertexts, which can be used any number of times."""

    def __init__(self, url: str, work: Work, numbers: Sequence[int]) -> None:
        """Prepare the applications `numbers`; raises errors of the server and the engine."""
        with ServerClient(url, ANSWER_SECONDS) as client:
            self.public = client.model()
            self.engine = _engine(self.public, client.client_files())
        self._layout = work.layout
        self.made = {number: self._make(work.applications[number]) for number in numbers}

    def _make(self, application: Application) -> Prepared:
        keys = self.engine.make_keys()
        first = self.public.schema_.party_names[0]
        messages = {
            (first, name): keys.evaluation
            for name in (PUBLIC_KEY, EVALUATION_KEY)
            if slot_of(self.public.slots, first, name)
        }
        for party in self.public.schema_.party_names:
            bits = application.bits[self._layout.party_bits(party)]
            messages[party, ENCRYPTED_INPUTS] = self.engine.encrypt(party, bits, keys.secret)
            if slot_of(self.public.slots, party, EXPLANATION_INPUTS):
                extra = self.engine.encrypt_explanation(bits, keys.secret)
                if extra is not None:
                    messages[party, EXPLANATION_INPUTS] = extra
        masks = {
            program: self.engine.masks(program, keys.secret)
            for program in programs_of(application)
            if isinstance(self.engine, JointParties) and self.public.masked(program)
        }
        challenge = {}
        if isinstance(self.engine, JointParties) and self.public.checked:
            challenge = self.engine.challenge(messages, keys.secret)
        return Prepared(keys.secret, messages, masks, challenge)


class PreparedParties:
    """Sends prepared applications, one after another.

    With `talk=False`, they omit the messages between parties for making keys and opening results:
    more than half of all calls, which no evaluation needs.
    """

    def __init__(
        self,
        urls: Sequence[str],
        preparation: Preparation,
        note: Callable[[Call], None],
        *,
        talk: bool = True,
    ) -> None:
        self._talk = talk
        self._transport = TimedTransport(urls, note)
        self._client = ServerClient(urls[0], ANSWER_SECONDS, self._transport)
        self._preparation = preparation
        self._servers = len(urls)

    def make(self, number: int, application: Application) -> Opened:
        """Send a prepared application with its own keys; returns all opened values."""
        prepared = self._preparation.made[application.number]
        self._transport.stay_at(home_of(number, self._servers))
        client = self._client
        opened = patiently(client.open_application)
        client_id, codes = opened.client_id, opened.join_codes
        keys = PermitKeys()
        tokens = {
            party: patiently(
                partial(client.join, client_id, party, code, permit_key=keys.raw(party))
            ).token
            for party, code in codes.items()
        }
        for step, size in KEY_STEPS.items():
            self._say(client_id, tokens, step, size)
        self._say(client_id, tokens, "record_commit", _COMMIT_BYTES)
        self._send(client_id, tokens, prepared.messages)
        engine = self._preparation.engine
        values: Opened = {}
        for program in programs_of(application):
            masks = prepared.masks.get(program)
            if masks is not None:
                self._send(client_id, tokens, masks)
            self._say(client_id, tokens, f"agree:{program}", _OPEN_STEPS["agree"])
            if program == DECIDE:
                self._send(client_id, tokens, prepared.challenge)
            self._permit(client_id, tokens, keys, program, prepared)
            result, final = self._result(client_id, tokens, program), program
            if masks is not None and isinstance(engine, JointParties):
                self._send(client_id, tokens, engine.masked(program, result, prepared.secret))
                final = SIGN_OF[program]
                result = self._result(client_id, tokens, final)
            values[program] = engine.open(final, result, prepared.secret)
        patiently(partial(client.erase, client_id, next(iter(tokens.values()))))
        return values

    def _permit(
        self,
        client_id: str,
        tokens: dict[str, str],
        keys: PermitKeys,
        program: str,
        prepared: Prepared,
    ) -> None:
        """Give the permits of all parties in one call; their own code adds them to another."""
        sha256 = {
            slot: hashlib.sha256(message).hexdigest() for slot, message in prepared.messages.items()
        }
        permits = keys.permits(self._preparation.public, client_id, program, sha256)
        token = next(iter(tokens.values()))
        patiently(partial(self._client.give_permits, client_id, token, permits))

    def _send(
        self, client_id: str, tokens: dict[str, str], files: dict[tuple[str, str], bytes]
    ) -> None:
        for (party, name), message in files.items():
            send = partial(self._client.send_file, client_id, party, name, message, tokens[party])
            patiently(send)

    def _result(self, client_id: str, tokens: dict[str, str], program: str) -> bytes:
        """Run a program, fetch its result as every party, and send the shares' messages."""
        client, first = self._client, next(iter(tokens.values()))
        patiently(partial(client.run, client_id, first, program))
        results = [
            patiently(partial(client.get_output, client_id, token, program))
            for token in tokens.values()
        ]
        for step in ("confirm", "partial"):
            self._say(client_id, tokens, f"{step}:{program}", _OPEN_STEPS[step])
        return results[0]

    def _say(self, client_id: str, tokens: dict[str, str], step: str, size: int) -> None:
        """Post a message from every party to all, and fetch the others' messages."""
        if not self._talk:
            return
        after = 0
        for token in tokens.values():
            body = secrets.token_bytes(size)
            after = patiently(partial(self._client.post, client_id, token, step, None, body))
        for token in tokens.values():
            patiently(partial(self._client.messages, client_id, token, max(0, after - len(tokens))))


def programs_of(application: Application) -> tuple[str, ...]:
    """Return the programs that the parties of an application agree to, in order."""
    return (DECIDE, EXPLAIN) if application.explained else (DECIDE,)


def _engine(public: PublicModel, files: bytes) -> PartyEngine:
    if public.engine.joint_keys:
        return JointParties(load_joint_party_engine(public, files), public.schema_.party_names)
    return load_party_engine(public, files)
