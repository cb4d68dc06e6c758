"""The invariants after every fault, from the log, the owner's book, and what the banks have.

Some of it takes a moment, such as a result that is delivered when the owner's agent is back; the
checks wait for that, and then judge.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from parties.governance.request_book import StoredRequest
from trials.faults.application import Broken
from trials.uses.agents import Bank, files_of
from trials.uses.episode import NOT_PERMITTED, Episode
from trials.uses.world import Line, World, until

ONCE = "no permit twice"
MASKED = "no value leaves unmasked"
LOGGED = "every execution is in the log"
CAUSED = "no log entry of a use without its cause"
WHOLE = "nothing half-done"
_ALLOWED = ("allowed", "reduced")
_TOKENS = re.compile(rb"\d{9,}|Canary [0-9a-f]{12}|19\d\d-\d\d-11")
_DELIVERY_SECONDS = 15.0


def check(episode: Episode) -> None:
    """Check everything about one episode, and record what is broken."""
    world = episode.world
    try:
        _delivered(episode)
        lines = world.read_log()
        _uses(episode, lines)
        _book(episode, lines)
        for bank in episode.banks:
            _received(episode, bank, lines)
            _masked(episode, bank)
        world.verify()
        world.read_server_logs()
        world.checked("errors are typed")
        if world.untyped:
            raise Broken("errors are typed", "; ".join(world.untyped[:3])[:1000])
    except Broken as error:
        world.breaks(error)
        world.untyped.clear()


def check_at_the_end(world: World, canaries: Iterable[bytes]) -> None:
    """Check the whole log, and the servers' files for values of owners."""
    try:
        world.verify(len(world.read_log()))
        found = frozenset(canaries)
        for server in world.servers:
            for path in Path(server.data).rglob("*"):
                if path.is_file():
                    world.checked(MASKED)
                    if set(_TOKENS.findall(path.read_bytes())) & found:
                        raise Broken(MASKED, f"a value is in the server's {path.name}")
    except Broken as error:
        world.breaks(error)


def _uses(episode: Episode, lines: list[Line]) -> None:
    """Every use has a permit that counts once, and everything that must precede it."""
    world = episode.world
    mine = lines[episode.first :]
    uses = [line for line in mine if line.kind == "use"]
    world.checked(ONCE)
    for permit, count in Counter(line.digest("permit") for line in uses).items():
        if count > 1:
            raise Broken(ONCE, f"the log has {count} uses of the permit {permit[:8]}")
    begun = _begun(episode)
    noted = {line.entry for line in episode.owner.activity()}
    for use in uses:
        world.checked(CAUSED)
        before = [line for line in mine if line.index < use.index]
        if _decided(before, use):
            if use.index not in noted:
                raise Broken(CAUSED, f"the owner's agent knows nothing of the use {use.index}")
            continue
        _require_causes(before, use)
        known = use.index in begun or use.digest("permit") in begun
        if not known and use.index not in episode.elsewhere:
            raise Broken(CAUSED, f"the use {use.index} was not begun in the owner's book")
    for permit_line in (line for line in mine if line.kind == "permit"):
        world.checked(CAUSED)
        if not _answered(mine[: permit_line.index - episode.first], permit_line):
            raise Broken(CAUSED, f"the permit {permit_line.index} was issued without an approval")


def _require_causes(before: list[Line], use: Line) -> None:
    """Raise Broken unless request, approval and permit were logged before a use."""
    request = use.digest("request")
    own = [line for line in before if line.digest("request") == request]
    if not any(line.kind == "request" for line in own):
        raise Broken(CAUSED, f"the use {use.index} is of a request that was not logged before")
    if not _answered(before, use):
        raise Broken(CAUSED, f"the use {use.index} is of a request that was not approved before")
    issued = [line for line in own if line.kind == "permit"]
    if use.digest("permit") not in {line.digest("permit") for line in issued}:
        raise Broken(NOT_PERMITTED, f"the use {use.index} is of a permit that was not issued")
    if any(line.kind == "revocation" for line in own):
        raise Broken(NOT_PERMITTED, f"the use {use.index} is of a request that had been revoked")


def _answered(before: list[Line], line: Line) -> bool:
    return any(
        each.kind == "answer"
        and each.outcome in _ALLOWED
        and each.digest("request") == line.digest("request")
        for each in before
    )


def _decided(before: list[Line], use: Line) -> bool:
    """Return True if the permit of a use is one of the server's gateway."""
    return any(
        each.kind == "decision"
        and each.outcome == "allowed"
        and each.digest("permit") == use.digest("permit")
        for each in before
    )


def _begun(episode: Episode) -> set[int | str | None]:
    """Return the entries of uses in the owner's book, and the digests of begun permits."""
    found: set[int | str | None] = set()
    for stored in _requests(episode):
        found |= {use.entry for use in stored.uses}
        found |= {sha256(each.permit) for each in stored.outbox}
    return found


def _book(episode: Episode, lines: list[Line]) -> None:
    """Every use in the owner's book is in the log, and within what was approved."""
    for stored in _requests(episode):
        episode.world.checked(LOGGED)
        for use in stored.uses:
            _require_use(use.entry, stored.request.digest, lines, LOGGED)
        grant = stored.state().grant
        if grant is not None and len(stored.uses) > grant.uses.count:
            raise Broken(NOT_PERMITTED, f"{len(stored.uses)} uses of {grant.uses.count} approved")
        if len({use.permit for use in stored.uses}) < len(stored.uses):
            raise Broken(ONCE, "the owner's book has two uses of one permit")


def _received(episode: Episode, bank: Bank, lines: list[Line]) -> None:
    """Every result that a bank has is of a use in the log, and no other result."""
    world = episode.world
    requests = {stored.request.id: stored.request.digest for stored in _requests(episode)}
    results: dict[int | None, object] = {}
    for outcome in bank.outcomes:
        world.checked(NOT_PERMITTED)
        digest = requests.get(outcome.request_id, "")
        _require_use(outcome.entry, digest, lines, LOGGED)
        if results.setdefault(outcome.entry, outcome.result) != outcome.result:
            raise Broken(ONCE, f"the use {outcome.entry} gave two results")
    for entry in bank.released:
        world.checked(NOT_PERMITTED)
        _require_use(entry, "", lines, LOGGED)
    if len(set(bank.released)) < len(bank.released):
        raise Broken(ONCE, "one use released two records")


def _require_use(entry: int | None, request: str, lines: list[Line], invariant: str) -> None:
    found = lines[entry] if entry is not None and entry < len(lines) else None
    if found is None or found.kind != "use" or request not in ("", found.digest("request")):
        raise Broken(invariant, f"the log's entry {entry} is not the use that was executed")


def _masked(episode: Episode, bank: Bank) -> None:
    """Nothing that a bank received or stored has a value of the owner's data."""
    held = [text.encode() for text in bank.received] + bank.plain_files() + files_of(bank.home)
    for data in held:
        episode.world.checked(MASKED)
        if any(value in data for value in episode.canaries.values):
            raise Broken(MASKED, "a value of the owner's data reached the bank")


def _delivered(episode: Episode) -> None:
    """Wait until results of marked uses have arrived, as long as their sessions live."""
    episode.world.checked(WHOLE)

    def missing() -> set[int | None]:
        live = _live(episode)
        due = {
            use.entry
            for stored in _requests(episode)
            if stored.session_id in live
            for use in stored.uses
        }
        for bank in episode.banks:
            due -= {outcome.entry for outcome in bank.outcomes} | set(bank.released)
        return due - episode.withheld

    if not until(lambda: not missing(), _DELIVERY_SECONDS):
        raise Broken(WHOLE, f"the results of the uses {sorted(map(str, missing()))} never arrived")
    for stored in _requests(episode):
        for waiting in stored.outbox:
            if not waiting.marked and any(use.permit == waiting.permit_id for use in stored.uses):
                raise Broken(WHOLE, "a use is in the book, but its result is not marked")


def _live(episode: Episode) -> set[str]:
    """Return the sessions in which both sides can still talk."""
    owned = {view.session_id for view in episode.owner.sessions() if view.status == "connected"}
    joined = {
        view.session_id
        for bank in episode.banks
        for view in bank.sessions()
        if view.status == "connected"
    }
    return owned & joined


def _requests(episode: Episode) -> list[StoredRequest]:
    """Return the requests of this episode; some owners have those of earlier ones too."""
    sessions = {view.session_id for bank in episode.banks for view in bank.sessions()}
    requests = episode.owner._parts.book.requests()
    return [stored for stored in requests if stored.session_id in sessions]


def sha256(text: str) -> str:
    """Return the digest of a permit as the log has it."""
    return hashlib.sha256(text.encode()).hexdigest()
