"""The contract of one application as a model: the required status and error of each call.

Written from the contract, not from the server's code; test_lifecycle_machine.py plays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from trials.stand_in import public_model

SCOPES = ("send", "run", "read", "relay", "erase")
MODEL = public_model()
PARTIES = MODEL.schema_.party_names
FIRST = PARTIES[0]
NEEDED = {
    program: {(s.party, s.file_name) for s in MODEL.slots if program in s.needed_for}
    for program in PROGRAMS
}
ACTIVE = ("queued", "running")
OK = ""

Outcome = tuple[int, str]
"""A status, and the code of the error or OK."""
GONE: Outcome = (404, "unknown-application")
STRANGER: Outcome = (401, "not-authorised")
UNNAMED: Outcome = (422, "unknown-name")


@dataclass(eq=False)
class Token:
    """A token; `party` is None for the watch token. Foreign and invented ones are not `live`."""

    text: str
    party: str | None = None
    scopes: tuple[str, ...] = ()
    live: bool = True


@dataclass
class Model:
    """The expected state of the application on the server."""

    joined: set[str] = field(default_factory=set)
    sent: dict[tuple[str, str], bytes] = field(default_factory=dict)
    order: bytes = b""
    status: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PROGRAMS, "idle"))
    said: dict[tuple[str, str, str | None], bytes] = field(default_factory=dict)
    permitted: dict[str, dict[str, dict[tuple[str, str], bytes]]] = field(
        default_factory=lambda: {program: {} for program in PROGRAMS}
    )
    """The parties with an unspent permit for a program, and the messages that it names."""
    erased: bool = False

    def unpermitted(self, program: str) -> set[str]:
        """Return the parties without a permit for an idle, failed or cancelled program."""
        if self.status[program] in (*ACTIVE, "done"):
            return set()
        used = {slot: self.sent.get(slot) for slot in NEEDED[program]}
        good = {party for party, named in self.permitted[program].items() if named == used}
        return set(PARTIES) - good

    def permit(self, program: str, parties: list[str]) -> Outcome | None:
        """Accept the parties' permits, on the present messages; return the reason to refuse."""
        if self.missing(program):
            return 409, "out-of-step"
        if self.status[program] not in (*ACTIVE, "done"):
            named = {slot: self.sent[slot] for slot in NEEDED[program]}
            self.permitted[program] |= dict.fromkeys(parties, named)
        return None

    def begin(self, program: str) -> Outcome | None:
        """Spend the permits for a run; return the reason why it cannot be queued."""
        refused = self.turn(program)
        if refused is None and self.unpermitted(program):
            refused = 403, "consent-missing"
        if refused is None:
            self.permitted[program] = {}
        return refused

    def admits(self, token: Token, scope: str) -> Outcome | None:
        """Return the reason to reject a party's call before its content is considered."""
        if self.erased:
            return GONE
        if not token.live or token.party is None:
            return STRANGER
        return None if scope in token.scopes else (403, "forbidden-scope")

    def shows(self, token: Token) -> Outcome | None:
        """Return the reason to reject a call that the watch token may make too."""
        watching = token.live and token.party is None
        return None if watching and not self.erased else self.admits(token, "read")

    def active(self, program: str) -> bool:
        return self.status[program] in ACTIVE

    def missing(self, program: str) -> set[tuple[str, str]]:
        return NEEDED[program] - set(self.sent)

    def turn(self, program: str) -> Outcome | None:
        """Return the reason why an idle, failed or cancelled program cannot be queued."""
        if any(self.active(other) for other in self.status if other != program):
            return 409, "already-running"
        if program != DECIDE and self.status[DECIDE] != "done":
            return 409, "out-of-step"
        return (409, "out-of-step") if self.missing(program) else None

    def closed(self, slot: tuple[str, str]) -> set[Outcome]:
        """Return the possible reasons why a slot can no longer be filled, one per program."""
        using = [program for program in self.status if slot in NEEDED[program]]
        found = {(409, "already-running") for program in using if self.active(program)}
        return found | {(409, "already-sent") for p in using if self.status[p] == "done"}

    def stage(self) -> str:
        if any(self.active(program) for program in self.status):
            return "running"
        if self.status[EXPLAIN] == "done":
            return "explained"
        if self.status[DECIDE] == "done":
            return "decided"
        return "open" if self.missing(DECIDE) else "ready"
