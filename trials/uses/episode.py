"""One episode: an owner, a bank and their session, to which one fault is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, TypeVar

from governance.data_store import DataStore
from governance.permits import signed_by
from governance.requests import Uses
from governance.store_key import Secret
from parties.governance.calls import Outcome
from parties.governance.institution import Institution
from parties.governance.owner import BOOK, DATA, Owner
from parties.governance.request_book import RequestBook, StoredRequest
from parties.identity_file import make_identity
from trials.faults.application import Broken
from trials.uses.agents import Bank, TamperingClient
from trials.uses.canaries import SALARY_CATEGORIES, Canaries
from trials.uses.world import World, patiently, until
from utils.errors import TrisealError

CHECKING = "dpv:CreditChecking"
FIELDS = ("birth_date", "income", "name")
COMPUTATIONS: tuple[dict[str, Any], ...] = (
    {"kind": "mean", "column": "amount"},
    {"kind": "sum", "column": "amount"},
    {"kind": "standard_deviation", "column": "amount"},
    {"kind": "share_per_category", "column": "region"},
    {"kind": "quantile", "column": "amount", "q": "0.25"},
)
CLIENT_SECONDS = 20.0
RACE_SECONDS = 0.3
"""Longest delay of one side of a race; by then the other one has usually won."""
NOT_PERMITTED = "nothing runs without a permit"

T = TypeVar("T")


class Episode:
    """The agents of one fault, in folders of their own. `owner_class` is for the trial's control.

    With a `user`, the owner is one whom the server's gateway knows.
    """

    def __init__(
        self,
        world: World,
        number: int,
        random: Random,
        user: str | None = None,
        owner_class: type[Owner] = Owner,
    ) -> None:
        """Start both agents and connect them; raises what they raise."""
        self.world, self.random, self.user = world, random, user
        self.folder = world.folder / f"episode-{number}"
        self.home = world.homes[user] if user else self.folder / "owner"
        self.name = user or "Ada"
        self.canaries = Canaries.drawn(random)
        world.keep_secret(*(value.decode() for value in self.canaries.values))
        self.secret = Secret("key_file", world.seed.to_bytes(32, "big"))
        self.elsewhere: set[int] = set()
        """Entries of uses that another copy of this owner's agent had marked."""
        self.withheld: set[int] = set()
        """Entries of uses whose results may have been lost, because a session was broken."""
        self.banks: list[Bank] = []
        self._owner_class = owner_class
        self._clock_offset = 0.0
        self.first = len(world.read_log())
        self.owner_client = TamperingClient(world.url, CLIENT_SECONDS)
        self.bank_client = TamperingClient(world.url, CLIENT_SECONDS)
        self.owner = self.start_owner()
        self.bank = self.new_bank()
        self.session = self.connect(self.bank)
        self.data = self.owner.store_data(
            self.canaries.salaries, "salaries", "My pay", categories=SALARY_CATEGORIES
        ).id
        for old in self.owner.data_sets(tag="record"):
            self.owner.remove_data(old.id)
        self.record = self.owner.store_data(
            self.canaries.record, "record", "Myself", schema_name="personal_record"
        ).id

    # ---- the agents

    def start_owner(self) -> Owner:
        """Start the owner's agent, or start it again from its folder."""
        self.owner = self._owner_class.start(
            self.home, self.owner_client, self.name, self.secret, clock=self._now
        )
        return self.owner

    def restart_owner(self) -> None:
        """Close the owner's agent and start it again."""
        self.owner.close()
        self.start_owner()

    def start_bank(self) -> Bank:
        """Start the bank's agent again from its folder; what it was sent before still counts."""
        again = self._bank_at(0, self.bank.token())
        self.banks.append(again)
        self.bank = again
        return again

    def new_bank(self) -> Bank:
        """Return the agent of a newly registered bank."""
        number = len(self.banks)
        key = make_identity(self.folder / f"bank-{number}")
        name, token = self.world.register(key.public.hex())
        made = self._bank_at(number, token)
        made.partner_id = name
        self.banks.append(made)
        return made

    def connect(self, bank: Bank) -> str:
        """Connect a bank to a new session of the owner; return the session's id."""
        hosted = patiently(lambda: self.owner.host_session("for a bank"))
        if hosted.code is None:
            raise Broken("the trial itself", "a new session has no code")
        code = hosted.code
        patiently(lambda: bank.connect_session(code))
        bank.data_sets(hosted.session_id)  # returns once both sides are there
        return hosted.session_id

    def shift_clock(self, seconds: float) -> None:
        """Set the clock of the owner's machine forward, or back."""
        self._clock_offset += seconds

    # ---- steps of a use

    def ask(self, release: bool = False, count: int = 1, **changes: Any) -> str:
        """Have the bank ask; return the request's id."""
        members: dict[str, Any] = {
            "action": "release" if release else "statistic",
            "purpose": CHECKING,
            "reason": "To check that the income covers the loan.",
            "uses": Uses(count=count),
        }
        if release:
            members["fields"] = FIELDS
        else:
            members["computation"] = self.random.choice(COMPUTATIONS)
        members |= changes
        data = self.record if members["action"] == "release" else self.data
        return self.bank.request(self.session, data, **members).request.id

    def approved(self, release: bool = False, count: int = 1, **changes: Any) -> str:
        """Have the bank ask and the owner approve; return the request's id."""
        request_id = self.ask(release, count, **changes)
        self.owner.approve(request_id)
        self.until_status(request_id, "active")
        return request_id

    def until_status(self, request_id: str, status: str) -> None:
        """Wait until the bank knows this status; raises Broken."""
        if not until(lambda: self.bank.request_view(request_id).status == status):
            found = self.bank.request_view(request_id).status
            raise Broken("nothing half-done", f"the bank sees {found} instead of {status}")

    def permit(self, request_id: str) -> tuple[str, str]:
        """Have the bank take a permit; return it and its id."""
        permit = self.bank.new_permit(self.session, request_id)
        self.world.keep_secret(permit)
        return permit, signed_by(permit, bytes.fromhex(self.owner.key)).jti

    def bring(self, permit: tuple[str, str]) -> Outcome:
        """Have the bank redeem a permit in the session."""
        return self.bank.bring(self.session, *permit)

    def run_until_over(self, request_id: str, tries: int = 8) -> dict[str, Any]:
        """Have the bank use a request, again after temporary errors; return the result."""
        for left in reversed(range(tries)):
            try:
                return self.bank.run(request_id, 15)
            except TrisealError:
                if not left:
                    raise
                time.sleep(0.3)
        raise Broken("nothing half-done", "unreachable")

    def stored(self, request_id: str) -> StoredRequest:
        """Return a request as the owner's book has it."""
        return self.owner._parts.book.get(request_id)

    def stored_uses(self, request_id: str) -> int:
        """Return how many uses the owner's folder has, while no agent has it open."""
        store = DataStore.open(self.home / DATA, self.secret)
        try:
            return len(RequestBook(self.home / BOOK, store.book_key()).get(request_id).uses)
        finally:
            store.close()

    def authorize(self, bank: Bank, *fields: str) -> str:
        """Return a permit of the server's gateway for the owner's record."""
        body: dict[str, Any] = {
            "partner_id": bank.partner_id,
            "user_id": self.name,
            "purpose": CHECKING,
        }
        if fields:
            body["requested_data"] = list(fields)
        headers = {"Authorization": f"Bearer {bank.token()}"}
        found = self.world.call("POST", "/authorize", json=body, headers=headers)
        if found.status_code != 200:
            raise Broken("the trial itself", f"no permit of the gateway: {found.text[:300]}")
        permit = str(found.json()["token"])
        self.world.keep_secret(permit)
        return permit

    @contextmanager
    def server_down(self) -> Iterator[None]:
        """Kill the first server for as long as the context lasts."""
        server = self.world.servers[0]
        server.kill()
        try:
            yield
        finally:
            server.start()
            server.wait()

    def end(self) -> None:
        """Stop all agents and remove their files."""
        self.owner_client.tamper = self.bank_client.tamper = None
        for view in self.owner.sessions():
            if view.status in ("waiting", "connected"):
                with suppress(TrisealError):
                    self.owner.end_session(view.session_id)
        if self.user:
            for partner, purpose in self.owner._parts.book.consents():
                with suppress(TrisealError):
                    self.owner.consent(partner, purpose, False)
        for bank in self.banks:
            bank.close()
        self.owner.close()
        self.owner_client.close()
        self.bank_client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bank_at(self, number: int, token: str) -> Bank:
        home = self.folder / f"bank-{number}"
        found: Institution = Bank.start(home, self.bank_client, "Bank of X", token)
        if not isinstance(found, Bank):
            raise TypeError(type(found).__name__)
        found.home = home
        return found

    def _now(self) -> float:
        return time.time() + self._clock_offset


def refused(call: Callable[[], Any], *errors: type[TrisealError]) -> str:
    """Return the code of the error that a call must raise; raises Broken if it succeeds."""
    try:
        found = call()
    except errors as error:
        return error.code
    except TrisealError as error:
        raise Broken("errors are typed", f"refused with {error.code}: {error.message}") from error
    raise Broken(NOT_PERMITTED, f"a call succeeded that had to be refused: {type(found).__name__}")


def outcome_of(call: Callable[[], Any]) -> str:
    """Return `done`, or the code of the error that a call raised."""
    try:
        call()
    except TrisealError as error:
        return error.code
    return "done"


def later(random: Random, call: Callable[[], Any], seconds: float) -> Callable[[], Any]:
    """Return a call that begins at most `seconds` later, so that either side of a race may win."""
    pause = random.choice((0.0, random.random())) * seconds

    def paused() -> Any:
        time.sleep(pause)
        return call()

    return paused


def at_once(*calls: Callable[[], Any]) -> list[str]:
    """Make calls at the same time, and return what became of each."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(outcome_of, call) for call in calls]]
