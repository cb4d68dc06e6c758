"""The invariants of a training that is over, from its agents' files, journals and logs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from contract.trainings import COORDINATOR
from federated.agents.member_agent import BOOSTER, RECORD
from federated.boosting.booster_json import booster_json
from federated.boosting.pooled import Pooled, pooled, total
from federated.boosting.usable_bits import choose_bits
from federated.protocol.messages import Result
from federated.protocol.record import Record, record_of
from federated.protocol.replay import kept_trees
from trials.faults.application import Broken
from trials.federated.agents import DONE, REFUSED
from trials.federated.ledger import FORWARD, LOCKED, ONE_SUM, require_locks, require_one_sum
from trials.federated.training import ENDS, Training, modes_of

POOLED = "every tree is that of pooled rows"
SAME = "all have the same record and model"
SEALED = "nothing in clear on the server"
SILENT = "nothing secret in the logs"
TYPED = "errors are typed"
PRIVATE = "files are their user's alone"
_RESULT: TypeAdapter[Result] = TypeAdapter(Result)
_UNTYPED = ("Traceback (most recent call last)", "Fatal Python error", "Exception in ASGI")
_SAMPLE_BYTES = 60
"""Bytes of a lender's rows that are searched for; no others are equal by chance."""
_SECRETS = ("token", "identity", "channel", "master", "own_root", "pair_roots")


def check(training: Training, checks: Counter[str]) -> None:
    """Check everything about a training that is over; raises Broken."""
    _Checked(training, checks).all()


class _Checked:
    def __init__(self, training: Training, checks: Counter[str]) -> None:
        self._training, self._checks, self._case = training, checks, training.case
        (member, state), self._results = training.stored(COORDINATOR, "member", "coordinator")
        self._started = json.loads(member or b"{}").get("started", [])
        self._training_id = str(json.loads(member or b"{}").get("training_id"))
        self._state = json.loads(state or b"{}")

    def all(self) -> None:
        self._openings()
        self._end()
        self._pooled()
        self._equal()
        self._server()
        self._logs()
        self._files()

    # ---- secure sums

    def _openings(self) -> None:
        events = {n: self._training.setups[n].journal.events() for n in self._training.names}
        for name, own in events.items():
            self._checks[FORWARD] += sum(event.kind == "saved" for event in own)
            self._checks[LOCKED] += sum(event.kind == "reveal" for event in own)
            require_locks(name, own)
        threshold = -(-2 * (len(self._started) - 1) // 3)
        coordinator = self._training.setups[COORDINATOR].journal.events()
        self._checks[ONE_SUM] += require_one_sum(events, coordinator, threshold)

    # ---- the end, and the trees

    def _end(self) -> None:
        training = self._training
        self._checks[ENDS] += 1
        for name in (COORDINATOR, *training.here):
            code = training.exit_code(name)
            excused = code == REFUSED and name in training.refused
            if code != DONE and not excused:
                raise Broken(ENDS, f"{name} has ended with {code}; {training.told()}")
        for name, one in self._state.get("lenders", {}).items():
            if one["status"] == "refused":
                raise Broken(ENDS, f"{name} was excluded: {one['reason']}")

    def _pooled(self) -> None:
        case, record = self._case, self._record(self._results)
        rows = {name: case.rows(name) for name in case.names}
        counted = record.trees[0].lenders  # the first root is the count
        usable = choose_bits(case.plan, total(rows[name].counts() for name in counted))
        if usable != record.usable:
            raise Broken(POOLED, "other bits are usable than by the rows that were counted")
        found = pooled(case.plan, rows, record.grown(), record.usable, record.scored)
        if any(tree.auc != auc for tree, auc in zip(record.trees, found.aucs, strict=False)):
            raise Broken(POOLED, "the AUCs differ from those of pooled rows")
        self._require_trees(COORDINATOR, self._results, found)
        for name in self._finished():
            self._require_trees(name, self._training.stored(name)[1], found)
        kept = booster_json(case.plan, found.kept)
        for name in (COORDINATOR, *self._finished()):
            if self._file(name, BOOSTER) != kept:
                raise Broken(POOLED, f"the model of {name} is not that of pooled rows")

    def _require_trees(self, name: str, results: Sequence[bytes], found: Pooled) -> None:
        self._checks[POOLED] += len(found.trees)
        parsed = [_RESULT.validate_json(body) for body in results]
        if kept_trees(self._case.plan, parsed) != found.kept:
            raise Broken(POOLED, f"{name} has other trees")

    def _equal(self) -> None:
        """All agents have the same results, as far as they have any, and the same files."""
        record = self._record(self._results).model_dump_json(indent=2).encode()
        for name in (COORDINATOR, *self._finished()):
            self._checks[SAME] += 1
            if self._file(name, RECORD) != record:
                raise Broken(SAME, f"the record of {name} differs")
        for name in self._training.names:
            if not self._training.state_file(name).exists():
                continue
            own = self._training.stored(name)[1]
            whole = name not in self._finished() or len(own) == len(self._results)
            if own != self._results[: len(own)] or not whole:
                raise Broken(SAME, f"the results of {name} differ")

    def _record(self, results: Sequence[bytes]) -> Record:
        parsed = [_RESULT.validate_json(body) for body in results]
        return record_of(self._case.plan, self._training_id, parsed)

    def _finished(self) -> tuple[str, ...]:
        return tuple(n for n in self._training.here if self._training.exit_code(n) == DONE)

    def _file(self, name: str, file: str) -> bytes:
        path = self._training.setups[name].home / file
        if not path.exists():
            raise Broken(SAME, f"{name} has no {file}")
        return path.read_bytes()

    # ---- secrets

    def _secrets(self) -> set[str]:
        """Return the tokens, keys and codes in the agents' databases."""
        found: set[str] = set()
        for name in self._training.everyone:
            if not self._training.state_file(name).exists():
                continue
            parts, _ = self._training.stored(name, "member", "progress", "codes")
            for body in parts:
                found |= _texts(json.loads(body or b"{}"))
        return found

    def _server(self) -> None:
        """The server's files have the lenders' names, and nothing else of the training."""
        data = b"".join(
            path.read_bytes()
            for path in sorted(Path(self._training.server.data).rglob("*.sqlite3*"))
        )
        self._checks[SEALED] += 1
        if self._case.names[0].encode() not in data:
            raise Broken("the trial itself", "the server's database was not found")
        rows = [one.states.tobytes()[:_SAMPLE_BYTES] for one in self._case.records.values()]
        searched = {
            "the plan": {self._case.canary.encode()},
            "a lender's rows": set(rows),
            "a message": {b'"kind":"uploaded"', b'"upload":"', b'"splits":'},
            "a secret": {one.encode() for one in self._secrets()},
        }
        for what, texts in searched.items():
            if any(text in data for text in texts):
                raise Broken(SEALED, f"{what} is in the server's database")

    def _logs(self) -> None:
        secrets = self._secrets()
        texts = {name: self._training.log(name) for name in self._training.everyone}
        texts["the server"] = self._training.server.log()
        for name, text in texts.items():
            self._checks[SILENT] += 1
            self._checks[TYPED] += 1
            if self._case.canary in text or any(secret in text for secret in secrets):
                raise Broken(SILENT, f"a secret or the plan is in the log of {name}")
            for words in _UNTYPED:
                if words in text:
                    at = text.index(words)
                    raise Broken(TYPED, f"in the log of {name}: {text[at : at + 3000]}")
            if name != "the server" and (found := re.search(r"^internal.*", text, re.MULTILINE)):
                raise Broken(TYPED, f"in the log of {name}: {found[0]}")

    def _files(self) -> None:
        for path, others in modes_of(self._training.folder / "homes"):
            self._checks[PRIVATE] += 1
            if others:
                raise Broken(PRIVATE, f"{path.name} can be used by others: {others:o}")


def _texts(document: object, secret: bool = False) -> set[str]:
    """Return the secret texts in an agent's stored part, and all codes."""
    if isinstance(document, str):
        return {document} if secret and len(document) > 20 else set()
    if not isinstance(document, dict):
        return set()
    found: set[str] = set()
    for name, value in document.items():
        own = secret or name in _SECRETS or name.startswith("lender_")
        found |= _texts(value, own)
    return found
