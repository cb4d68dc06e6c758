"""Trial: manipulations of the log, its database and decision files, each of which must be found.

    python -m trials.log_manipulations --tries 1000 --seed 17

Every try makes a log with uses and cosigned checkpoints (trials/logged_uses.py), manipulates it in
one of 18 ways and has it verified:

- the database by the audit against the checkpoints that a party kept (governance/log/audit.py);
- the log by its cosigners, which remember what they signed, and by readers that require them;
- a decision file by verify.py and by the project's own reader.

The manipulator has the database and the log's signing key: it computes hashes, proofs and
signatures of the log again wherever that helps, and copies all signatures that it has seen. It has
no key of an owner, a witness or a cosigner.

The control counts the tries that a reader accepts who parses what it is shown, and checks at most
the log's own signature.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import verify
from governance.log import decision_file
from governance.log.audit import audit
from governance.log.checkpoint import (
    Checkpoint,
    CosignerState,
    Note,
    require_cosigners,
    verify_checkpoint,
)
from governance.log.decision_file import DecisionFile
from governance.log.entries import DIGESTS, Entry, Kind
from governance.log.merkle import (
    MemoryNodes,
    append,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from trials.command import end_when_told
from trials.logged_uses import ORIGIN, START, Log, a_log, key_of, public_of, trust
from utils.errors import TrisealError
from utils.terminal import print_any_text

FAMILIES = ("altered", "removed", "inserted", "reordered", "rolled back", "forked")
TARGETS = ("log", "database", "decision file")
TRUST = trust()
COSIGNER_KEYS = {name: bytes.fromhex(key) for name, key in TRUST.cosigners.items()}
_KINDS: tuple[Kind, ...] = ("request", "decision", "answer", "permit", "revocation", "erasure")
_SECONDS = START + 100_000


@dataclass(frozen=True)
class Outcome:
    """Whether a manipulation was found, and whether the control accepted it."""

    found: bool
    accepted_unverified: bool


# What a manipulator does to the entries


def manipulated(family: str, log: Log, draw: random.Random) -> list[bytes]:
    """Return other entries than the log's, which are well formed."""
    entries, size = list(log.entries), len(log.entries)
    place = draw.randrange(size)
    if family == "altered":
        entries[place] = altered_entry(entries[place], draw)
    elif family == "removed":
        del entries[place]
    elif family == "inserted":
        entries.insert(place, another_entry(draw))
    elif family == "reordered":
        other = draw.choice([each for each in range(size) if entries[each] != entries[place]])
        entries[place], entries[other] = entries[other], entries[place]
    elif family == "rolled back":
        del entries[draw.choice(sizes(log)[:-1]) :]
    else:
        kept = draw.choice(sizes(log)[:-1])
        entries[kept:] = [another_entry(draw) for _ in range(kept, size)]
    return entries


def sizes(log: Log) -> list[int]:
    """Return the sizes of the log's checkpoints."""
    return [Checkpoint.parse(note.body).size for note in log.notes]


def another_entry(draw: random.Random) -> bytes:
    """Return an entry of something that did not happen."""
    request = [draw.randbytes(32).hex()]
    return Entry.made(draw.choice(_KINDS), _SECONDS, digests={"request": request}).to_bytes()


def altered_entry(data: bytes, draw: random.Random) -> bytes:
    """Return an entry with another time, outcome, kind, digest, pseudonym or digest of details."""
    found = Entry.parse(data).to_json()
    change: dict[str, Any] = draw.choice(
        [
            {"time": "2026-01-01T00:00:00Z"},
            {"outcome": "failed"},
            {"kind": "revocation"},
            {"details": draw.randbytes(32).hex()},
            {"digests": {draw.choice(DIGESTS): [draw.randbytes(32).hex()]}},
            {"pseudonyms": {"owner": [draw.randbytes(32).hex()]}},
        ]
    )
    return Entry.from_json({**found, **change}).to_bytes()


def rebuilt(entries: Sequence[bytes]) -> Log:
    """Return a log of these entries, with every hash computed again."""
    log = Log(entries=list(entries), store=MemoryNodes())
    append(log.store, 0, [leaf_hash(each) for each in entries])
    return log


# The database


def manipulate_database(family: str, log: Log, draw: random.Random) -> Outcome:
    """Change entries, or stored hashes, or both consistently."""
    entries = manipulated(family, log, draw)
    store = rebuilt(entries).store if draw.random() < 0.5 else log.store
    if family == "altered" and draw.random() < 0.2:  # only a stored hash
        entries, store = log.entries, MemoryNodes()
        store.put(log.store.nodes)
        place = draw.choice(list(store.nodes))
        store.put({place: draw.randbytes(32)})
    kept = [Checkpoint.parse(note.body) for note in log.notes]
    found = not _passes(lambda: audit(entries, store, kept))
    return Outcome(found, _all_parse(entries))


def _all_parse(entries: Sequence[bytes]) -> bool:
    return _passes(lambda: [Entry.parse(each) for each in entries])


def _passes(check: Callable[[], object]) -> bool:
    """Return True if a check raises no error of Triseal's own."""
    try:
        check()
    except TrisealError:
        return False
    return True


# The log as it is shown


def manipulate_log(family: str, log: Log, draw: random.Random) -> Outcome:
    """Show cosigners or readers another log than before, signed by the log."""
    if family == "forked":
        return _show_two_logs(log, draw)
    shown = rebuilt(manipulated(family, log, draw))
    if family != "rolled back":
        for _ in range(draw.randrange(1, 8)):
            shown.add(Entry.parse(another_entry(draw)))
    note = shown.head()
    signed = [_signs(state, note, shown, log, draw) for state in log.cosigners.values()]
    copied = note.with_lines([line.text() for line in log.notes[-1].signatures[1:]])
    careless = _passes(lambda: _cosign(CosignerState(ORIGIN), note, 0, []))
    return Outcome(not any(signed) and not _cosigned(copied), careless)


def _cosign(
    state: CosignerState, note: Note, old: int, proof: list[bytes], name: str = "bank"
) -> str:
    """Return the line by which a cosigner signs; raises what it refuses with."""
    line, _ = state.cosign(
        note,
        public_of("log"),
        old,
        proof,
        name=name,
        key=key_of(f"cosigner {name}"),
        seconds=_SECONDS,
    )
    return line


def _signs(state: CosignerState, note: Note, shown: Log, log: Log, draw: random.Random) -> bool:
    """Return True if a cosigner signs with one of the proofs that the manipulator can make."""
    size = len(shown.entries)
    tries: list[tuple[int, list[bytes]]] = [(0, []), (state.size, [])]
    if state.size <= size:
        honest = consistency_proof(shown.store, state.size, size)
        tries += [(state.size, honest), (state.size, honest[::-1])]
        tries += [(state.size, [*honest[1:], draw.randbytes(32)])]
    else:
        tries += [(state.size, consistency_proof(log.store, size, state.size))]
        tries += [(size, [])]
    return any(_passes(partial(_cosign, state, note, old, proof)) for old, proof in tries)


def _show_two_logs(log: Log, draw: random.Random) -> Outcome:
    """Show two parties checkpoints of one size with different roots, each of which continues.

    Each party signs what it is shown, further cosigners with the first, and no checkpoint has all
    signatures; once the parties compare, the two are evidence against the log.
    """
    first_party, second_party, *others = draw.sample(sorted(log.cosigners), len(log.cosigners))
    forks = []
    for names in ([first_party, *others], [second_party]):
        shown = rebuilt([*log.entries, *(another_entry(draw) for _ in range(3))])
        note, size = shown.head(), len(shown.entries)
        lines = []
        for name in names:
            state = log.cosigners[name]
            proof = consistency_proof(shown.store, state.size, size)
            lines.append(_cosign(state, note, state.size, proof, name))
        forks.append(note.with_lines(lines))
    one, two = forks
    # The manipulator mixes all signatures that it was given.
    mixed = one.with_lines([line.text() for line in two.signatures if line.name != ORIGIN])
    refused = not any(map(_cosigned, (one, two, mixed)))
    first, second = (note.text().encode() for note in forks)
    checks = verify.check_checkpoints(first, second, None, TRUST.to_bytes())
    compared = any("fork" in problem for passed, _, problem in checks if not passed)
    log_key = public_of("log")
    logs_signature = all(
        _passes(partial(verify_checkpoint, each, ORIGIN, log_key)) for each in forks
    )
    return Outcome(refused and compared, logs_signature)


def _cosigned(note: Note) -> bool:
    """Return True if a reader accepts a checkpoint."""
    return _passes(lambda: verify_checkpoint(note, ORIGIN, public_of("log"))) and _passes(
        lambda: require_cosigners(note, COSIGNER_KEYS)
    )


# Decision files


def manipulate_decision_file(family: str, log: Log, draw: random.Random) -> Outcome:
    """Change a decision file of one of the log's uses."""
    first = sizes(log)[0] if family == "rolled back" else 0
    file = log.decision_file(draw.choice([index for index in log.uses if index >= first]))
    ways = {
        "altered": _alter_file,
        "removed": _remove_from_file,
        "inserted": _insert_into_file,
        "reordered": _reorder_file,
        "rolled back": _roll_back_file,
        "forked": _fork_file,
    }
    found = ways[family](log, file, draw)
    if found == file.model_dump(mode="json"):
        raise AssertionError("the trial changed nothing")
    data = DecisionFile.model_validate(found).to_bytes()
    refused = not _passes(lambda: decision_file.verify(DecisionFile.parse(data), TRUST))
    checks = list(verify.check_decision(data, TRUST.to_bytes()))
    by_file = not all(passed for passed, _, _ in checks)
    unverified = _passes(lambda: Entry.from_json(DecisionFile.parse(data).entry))
    return Outcome(refused and by_file, unverified)


def _alter_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    found = file.model_dump(mode="json")
    where = ["entry", "receipt", "permit", "index", "checkpoint", "program"]
    where += ["statement"] if file.statement else []
    where += ["hash"] if file.inclusion.hashes else []
    way = draw.choice(where)
    grant = draw.choice(found["grants"])
    if way == "entry":
        found["entry"] = Entry.parse(altered_entry(_entry_bytes(file), draw)).to_json()
    elif way == "receipt":
        grant["receipt"]["triseal:policyVersion"] = "2"
    elif way == "permit":
        grant["permit"] = _other(log, file, draw).grants[0].permit
    elif way == "index":
        found["inclusion"]["index"] += draw.choice((-1, 1))
    elif way == "checkpoint":
        checkpoint = Checkpoint.parse(Note.parse(file.checkpoint).body)
        forged = Checkpoint(ORIGIN, checkpoint.size + 1, checkpoint.root).text()
        found["checkpoint"] = file.checkpoint.replace(checkpoint.text(), forged)
    elif way == "program":
        found["program"] = draw.randbytes(32).hex()
    elif way == "statement":
        found["statement"]["result"] = draw.randbytes(32).hex()
    else:
        found["inclusion"]["hashes"][0] = draw.randbytes(32).hex()
    return found


def _remove_from_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    found = file.model_dump(mode="json")
    way = draw.choice(["grant", "hash", "cosignature", "digest", "statement"])
    if way == "grant" and len(file.grants) > 1:
        del found["grants"][draw.randrange(len(file.grants))]
    elif way == "hash":
        del found["inclusion"]["hashes"][draw.randrange(len(file.inclusion.hashes))]
    elif way == "statement" and file.statement:
        found["statement"] = None
    elif way == "digest":
        del found["entry"]["digests"][draw.choice(list(found["entry"]["digests"]))]
    else:
        note = Note.parse(file.checkpoint)
        kept = list(note.signatures)
        del kept[draw.randrange(len(kept))]
        found["checkpoint"] = Note(note.body, tuple(kept)).text()
    return found


def _insert_into_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    found = file.model_dump(mode="json")
    way = draw.choice(["grant", "hash", "digest", "claim"])
    if way == "grant":
        found["grants"].append(_other(log, file, draw).grants[0].model_dump(mode="json"))
    elif way == "hash":
        hashes = found["inclusion"]["hashes"]
        hashes.insert(draw.randrange(len(hashes) + 1), draw.randbytes(32).hex())
    elif way == "digest":
        digests = found["entry"]["digests"]["request"]
        digests[:] = sorted([*digests, draw.randbytes(32).hex()])
    else:
        draw.choice(found["grants"])["receipt"]["dpv:hasRecipient2"] = "Another Bank"
    return found


def _reorder_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    found = file.model_dump(mode="json")
    hashes, grants = found["inclusion"]["hashes"], found["grants"]
    if len(grants) > 1 and draw.random() < 0.5:
        one, two = draw.sample(range(len(grants)), 2)
        name = draw.choice(("receipt", "permit"))
        grants[one][name], grants[two][name] = grants[two][name], grants[one][name]
    else:
        one, two = draw.sample(range(len(hashes)), 2)
        hashes[one], hashes[two] = hashes[two], hashes[one]
    return found


def _roll_back_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    """Show an earlier checkpoint, with all its signatures, of before the entry."""
    found = file.model_dump(mode="json")
    index = file.inclusion.index
    earlier = draw.choice(
        [note for note, size in zip(log.notes, sizes(log), strict=True) if size <= index]
    )
    found["checkpoint"] = earlier.text()
    if draw.random() < 0.5:  # with a proof that fits its size, of another entry
        size = Checkpoint.parse(earlier.body).size
        hashes = inclusion_proof(log.store, index % size, size)
        found["inclusion"] = {"index": index % size, "hashes": [each.hex() for each in hashes]}
    return found


def _fork_file(log: Log, file: DecisionFile, draw: random.Random) -> dict[str, Any]:
    """Show a forged entry in another log of the same size, signed by the log."""
    found = file.model_dump(mode="json")
    index = file.inclusion.index
    forged = altered_entry(_entry_bytes(file), draw) if draw.random() < 0.5 else _entry_bytes(file)
    entries = [*log.entries[:index], forged, *(another_entry(draw) for _ in range(5))]
    entries += log.entries[len(entries) :]
    shown = rebuilt(entries)
    lines = [line.text() for line in log.notes[-1].signatures[1:]]
    note = shown.head().with_lines(lines if draw.random() < 0.5 else [])
    hashes = inclusion_proof(shown.store, index, len(entries))
    found["entry"] = Entry.parse(forged).to_json()
    found["inclusion"] = {"index": index, "hashes": [each.hex() for each in hashes]}
    found["checkpoint"] = note.text()
    return found


def _entry_bytes(file: DecisionFile) -> bytes:
    return Entry.from_json(file.entry).to_bytes()


def _other(log: Log, file: DecisionFile, draw: random.Random) -> DecisionFile:
    """Return the decision file of another use."""
    own = file.inclusion.index
    return log.decision_file(draw.choice([index for index in log.uses if index != own]))


WAYS: dict[str, Callable[[str, Log, random.Random], Outcome]] = {
    "log": manipulate_log,
    "database": manipulate_database,
    "decision file": manipulate_decision_file,
}


def run(tries: int, seed: int) -> dict[tuple[str, str], Counter[str]]:
    """Return the counts `tried`, `found` and `unverified` by target and family."""
    counts: dict[tuple[str, str], Counter[str]] = {
        (target, family): Counter() for target in TARGETS for family in FAMILIES
    }
    for number, place in zip(range(tries), cycle(counts), strict=False):
        draw = random.Random(f"{seed} {number}")  # noqa: S311 - repeatable on purpose
        target, family = place
        outcome = WAYS[target](family, a_log(draw.randrange(2**32), rounds=3), draw)
        counts[place].update(tried=1, found=outcome.found, unverified=outcome.accepted_unverified)
    return counts


def table(counts: dict[tuple[str, str], Counter[str]]) -> str:
    """Return the counts as a table in Markdown."""
    rows = ["| manipulated | how | tried | found | accepted unverified |", "|---|---|--:|--:|--:|"]
    rows += [
        f"| {target} | {family} | {each['tried']} | {each['found']} | {each['unverified']} |"
        for (target, family), each in counts.items()
    ]
    total: Counter[str] = sum(counts.values(), Counter())
    rows.append(f"| all | | {total['tried']} | {total['found']} | {total['unverified']} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trial, print its table, and return 1 if a manipulation was not found."""
    parser = CommandParser(prog="python -m trials.log_manipulations")
    parser.add_argument("--tries", type=int, default=1000, help="number of manipulations")
    parser.add_argument("--seed", type=int, default=17, help="seed of the manipulations")
    given = parser.parse_args(arguments)
    print_any_text()
    counts = run(given.tries, given.seed)
    print(table(counts))
    return 0 if all(each["found"] == each["tried"] for each in counts.values()) else 1


if __name__ == "__main__":
    end_when_told()
    run_command(main)
