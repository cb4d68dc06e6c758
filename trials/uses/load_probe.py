"""A probe in its own process that makes the server's calls of uses, without agents around them."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from contract.sessions import SessionEventRequest
from governance.permits import Use, issue
from parties.client import ServerClient
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from trials.load.timing import Call, TimedTransport
from trials.uses.load_agents import ANSWER_SECONDS, CHECKING, FIELDS, TimedHttp
from trials.uses.world import patiently
from utils.errors import TrisealError

EVERY_SECONDS = 0.25
"""Interval between rounds; each has one call of each kind."""
PERMITS_OF_ONE = 50
"""Permits of the gateway that one partner takes: the policy allows 60 an hour."""
ROUNDS_OF_ONE = 500
"""Rounds in one session, which may ask for 4096 entries of the log: each round has four."""
_BODY_BYTES = 1200


class UseProbe:
    """Makes rounds of calls until it is stopped; for use in training.measure.remote.Remote."""

    def __init__(self, url: str, user: str, home: Path, operator: str) -> None:
        """Host a session, and consent to a new partner; `home` has the key of `user`."""
        self._owner = make_identity(home)
        self._user, self._operator = user, operator
        self._calls: list[Call] = []
        self._failed: list[str] = []
        self._stop = threading.Event()
        self._client = ServerClient(url, ANSWER_SECONDS, TimedTransport([url], self._calls.append))
        self._http = TimedHttp(url, self._calls.append)
        self._key = IdentityKey.fresh()
        self._new_partner()
        self._rounds = 0
        self._new_session()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start making rounds."""
        self._calls.clear()
        self._failed.clear()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[list[Call], list[str]]:
        """Stop; return all calls since the start, and the errors."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self._calls, self._failed

    def _repeat(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + EVERY_SECONDS, time.monotonic())
            try:
                self._round()
            except TrisealError as error:
                self._failed.append(f"{error.code}: {error.message}")

    def _round(self) -> None:
        self._rounds += 1
        if self._rounds % ROUNDS_OF_ONE == 0:
            self._new_session()
        client, session = self._client, self._session
        self._number += 1
        request = secrets.token_hex(32)
        client.post_session_message(
            session, self._token, self._number, secrets.token_bytes(_BODY_BYTES)
        )
        client.session_messages(session, self._bank_token, self._number - 1)
        client.session(session, self._bank_token)
        for kind, outcome in (("request", None), ("answer", "allowed"), ("permit", "allowed")):
            event = SessionEventRequest.model_validate(
                {
                    "kind": kind,
                    "outcome": outcome,
                    "digests": {"request": request},
                    "details": {"purpose": CHECKING, "fields": list(FIELDS)},
                }
            )
            client.log_event(session, self._token, event)
        use = Use(
            iss=self._user,
            sub=request,
            aud=self._user,
            action="statistic",
            program="ab" * 32,
            fields=FIELDS[:1],
            requester=self._key.public,
        )
        permit = issue(self._owner.private, use, time.time())
        client.use_permit(session, self._token, permit, "cd" * 32, {"purpose": CHECKING})
        self._gateway()
        self._http.call("GET", "/logs", self._operator, params={"limit": 50})

    def _gateway(self) -> None:
        body: dict[str, Any] = {
            "partner_id": self._partner,
            "user_id": self._user,
            "purpose": CHECKING,
        }
        if self._rounds % 2:
            body["requested_data"] = list(FIELDS)
        if self._rounds % PERMITS_OF_ONE == 0:
            self._new_partner()
            body["partner_id"] = self._partner
        found = self._http.call("POST", "/authorize", self._partner_token, json=body)
        self._client.spend_permit(self._owner.private, str(found["token"]))

    def _new_session(self) -> None:
        hosted = patiently(lambda: self._client.host_session(self._owner.private))
        self._session, self._token = hosted.session_id, hosted.token
        connected = self._client.connect_session(self._session, self._partner_token, hosted.code)
        self._bank_token, self._number = connected.token, 0

    def _new_partner(self) -> None:
        self._partner = f"probe_{Random().randrange(10**9)}"  # noqa: S311 - a name
        body = {
            "partner_id": self._partner,
            "partner_type": "bank",
            "key": self._key.public.hex(),
        }
        made = self._http.call("POST", "/operator/partners", self._operator, json=body)
        self._partner_token = str(made["token"])
        now = int(time.time() * 1000)
        key = self._owner.private
        self._client.say_consent(key, self._user, self._partner, CHECKING, True, now)
