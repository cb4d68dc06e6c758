"""Pairs of an owner's and a bank's agent that make requests and uses, in a process of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx

from governance.store_key import Secret
from parties.client import ServerClient
from parties.governance.owner import Owner
from parties.identity_file import make_identity
from trials.load.timing import Call, TimedTransport
from trials.processes import give_way
from trials.uses.agents import Bank
from trials.uses.canaries import SALARY_CATEGORIES, Canaries
from trials.uses.world import patiently, until
from utils.errors import TrisealError

CHECKING = "dpv:CreditChecking"
FIELDS = ("birth_date", "income", "name")
MEAN = {"kind": "mean", "column": "amount"}
ANSWER_SECONDS = 60.0
STATUS_SECONDS = 60.0
NICENESS = 19
"""The servers have priority, as if the agents were on other machines."""


@dataclass(frozen=True)
class Done:
    """One request with its use: its seconds, and why it was lost, None if it was not."""

    seconds: float
    lost: str | None = None


class TimedHttp:
    """Plain calls whose times are noted, for those that are no methods of an agent's client."""

    def __init__(self, url: str, note: Callable[[Call], None]) -> None:
        transport = TimedTransport([url], note)
        self._http = httpx.Client(base_url=url, transport=transport, timeout=ANSWER_SECONDS)

    def call(self, method: str, path: str, token: str, **options: Any) -> Any:
        """Return the body of a response; raises TrisealError for any other than a success."""
        headers = {"Authorization": f"Bearer {token}"}
        found = self._http.request(method, path, headers=headers, **options)
        if not found.is_success:
            raise TrisealError(f"{method} {path}: {found.status_code} {found.text[:200]}")
        return found.json()


class Pair:
    """An owner and a bank with a session, known to the server's gateway too."""

    def __init__(
        self, url: str, user: str, home: Path, operator: str, note: Callable[[Call], None]
    ) -> None:
        """Start both agents and connect them; raises what they raise."""
        canaries = Canaries.drawn(Random(user))  # noqa: S311 - invented data
        self.user = user
        self.clients = [ServerClient(url, ANSWER_SECONDS, TimedTransport([url], note))
                        for _ in range(2)]  # fmt: skip
        self.http = TimedHttp(url, note)
        self.operator = operator
        self.owner = Owner.start(home, self.clients[0], user, Secret("key_file", bytes(32)))
        key = make_identity(home / "bank").public.hex()
        self.partner = f"bank_of_{user}"
        body = {"partner_id": self.partner, "partner_type": "bank", "key": key}
        self.token = self.http.call("POST", "/operator/partners", operator, json=body)["token"]
        bank = Bank.start(home / "bank", self.clients[1], "Bank of X", self.token)
        if not isinstance(bank, Bank):
            raise TypeError(type(bank).__name__)
        self.bank = bank
        code = patiently(lambda: self.owner.host_session()).code or ""
        self.session = patiently(lambda: bank.connect_session(code)).session_id
        self.data = self.owner.store_data(
            canaries.salaries, "salaries", "My pay", categories=SALARY_CATEGORIES
        ).id
        self.record = self.owner.store_data(
            canaries.record, "record", "Myself", schema_name="personal_record"
        ).id
        self.owner.consent(self.partner, CHECKING, True)
        self.signer = self.clients[0].log_facts().permit_key
        bank.data_sets(self.session)

    def request_and_run(self, number: int) -> None:
        """Ask, approve, take a permit and redeem it; raises what goes wrong."""
        members: dict[str, Any] = {"purpose": CHECKING, "reason": "For the loan."}
        if number % 2:
            asked = self.bank.request(
                self.session, self.record, action="release", fields=FIELDS, **members
            )
        else:
            asked = self.bank.request(
                self.session, self.data, action="statistic", computation=MEAN, **members
            )
        name = asked.request.id
        self.owner.approve(name)
        if not until(lambda: self.bank.request_view(name).status == "active", STATUS_SECONDS):
            raise TrisealError("The bank was not told of the approval.")
        self.bank.run(name, ANSWER_SECONDS)

    def authorize_and_exchange(self, number: int) -> None:
        """Take a permit of the gateway and redeem it at the owner; raises what goes wrong."""
        body: dict[str, Any] = {
            "partner_id": self.partner,
            "user_id": self.user,
            "purpose": CHECKING,
        }
        if number % 2:
            body["requested_data"] = list(FIELDS)
        permit = str(self.http.call("POST", "/authorize", self.token, json=body)["token"])
        self.bank.exchange(self.owner, permit, self.signer)
        self.http.call("GET", "/logs", self.operator, params={"limit": 20})

    def close(self) -> None:
        """Stop both agents."""
        self.owner.end_session(self.session)
        self.bank.close()
        self.owner.close()


class Agents:
    """All pairs; for use in training.measure.remote.Remote."""

    def __init__(self, url: str, homes: dict[str, Path], operator: str, at_once: int) -> None:
        give_way(NICENESS)
        self._calls: list[Call] = []
        self._at_once = at_once
        self._pairs = [Pair(url, user, home, operator, self._note) for user, home in homes.items()]

    def run(self, what: str, numbers: Sequence[int]) -> tuple[list[Done], list[Call]]:
        """Do what the method of Pair does, for each number, several at a time.

        A pair works on one number at a time. Returns what was done, and all calls.
        """
        self._calls = []
        free = list(self._pairs)
        taking = threading.Lock()

        def one(number: int) -> Done:
            with taking:
                pair = free.pop(0)
            start = time.perf_counter()
            try:
                getattr(pair, what)(number)
            except Exception as error:  # reported, while the others continue
                told = error.message if isinstance(error, TrisealError) else str(error)
                return Done(time.perf_counter() - start, f"{type(error).__name__}: {told}")
            finally:
                with taking:
                    free.append(pair)
            return Done(time.perf_counter() - start)

        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(one, numbers)), self._calls

    def close(self) -> None:
        """Stop all agents."""
        for pair in self._pairs:
            pair.close()

    def _note(self, call: Call) -> None:
        self._calls.append(call)
