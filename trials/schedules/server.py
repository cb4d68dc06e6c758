"""A dishonest server: it withholds, repeats and reorders messages, and evaluates a second time.

Uploads and runs are kept by the real server's code. Messages between parties are kept here, so that
the server may also pass on a message that contradicts an earlier one of the same party.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from contract.http import Exchanged, ProgramState, Relayed
from parties.client import Posting, Waiting
from trials.local_server import LocalClient, LocalServer
from trials.schedules.kills import Fuse

Sent = Callable[[str, Posting], None]
"""Is told the sender of every message, and the message, before any party can see it."""


class DishonestServer:
    """The server of one application; `withheld` are pairs of sender and receiver."""

    def __init__(self, server: LocalServer, draw: Random, sent: Sent) -> None:
        self.local, self.draw, self.sent = server, draw, sent
        self.wire: list[tuple[str, Posting]] = []
        self.withheld: set[tuple[str, str]] = set()
        self.restored: set[str] = set()
        """The parties whose folder was put back; they are not shown their own messages."""
        self.shuffles = self.repeats = 0.0
        """Probabilities that new messages are reordered, and that old ones are repeated."""
        self.faults: dict[str, int] = {}
        self._order: dict[str, list[int]] = {}
        """By party, the indices in `wire` of the messages given to it, in this order."""
        self._first: dict[str, int] = {}
        """By party, the number of messages that it had when `_order` began."""
        self._results: dict[str, list[bytes]] = {}
        self._offered: dict[tuple[str, str], int] = {}

    def count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1

    def take(self, party: str, messages: Sequence[Posting]) -> None:
        """Store new messages of a party; some that contradict an earlier one are kept back.

        Others refuse a contradiction, and so would never learn anything that comes after it.
        """
        for message in messages:
            if (party, message) in self.wire:
                continue
            self.sent(party, message)
            earlier = any((p, m[:2]) == (party, message[:2]) for p, m in self.wire)
            if not earlier or self.draw.random() < 0.5:
                self.wire.append((party, message))

    def restore(self, party: str) -> None:
        """Note that a party's folder was put back: it is given all others' messages again."""
        self.restored.add(party)
        self._order.pop(party, None)
        self._first.pop(party, None)

    def give(self, party: str, after: int) -> list[Relayed]:
        """Return the messages for a party that has processed all up to number `after`."""
        order, first = self._order.setdefault(party, []), self._first.setdefault(party, after)
        del order[after - first :]
        new = [i for i in range(len(self.wire)) if i not in order and self._shown(party, i)]
        if party in self.restored:  # not more than it can process before it sends its own again
            del new[self.draw.randint(0, len(new)) :]
        if len(new) > 1 and self.draw.random() < self.shuffles:
            self.draw.shuffle(new)
            self.count("reordered delivery")
        if order and self.draw.random() < self.repeats:
            new.insert(self.draw.randint(0, len(new)), self.draw.choice(order))
            self.count("duplicated delivery")
        order += new
        return [self._relayed(after + k, i) for k, i in enumerate(new, 1)]

    def _shown(self, party: str, index: int) -> bool:
        sender, (_, receiver, _) = self.wire[index]
        if sender == party:
            return party not in self.restored
        return receiver in (None, party) and (sender, party) not in self.withheld

    def _relayed(self, number: int, index: int) -> Relayed:
        sender, (step, receiver, body) = self.wire[index]
        return Relayed.model_construct(
            number=number, sender=sender, receiver=receiver, step=step, body=body
        )

    def offer_another(self, client_id: str, program: str, parties: Sequence[str]) -> None:
        """Evaluate once more, on the same messages, and give `parties` this result from now on."""
        evaluation = self.local.jobs.evaluation(client_id, program)
        blobs = self.local.storage.blobs
        messages = {k: blobs.read(evaluation.store, n) for k, n in evaluation.messages.items()}
        results = self._results.setdefault(program, [])
        results.append(self.local.engine.evaluate(program, messages))
        for party in parties:
            self._offered[party, program] = len(results) - 1
        self.count("another result offered")

    def result(self, party: str, program: str, own: bytes) -> bytes:
        """Return the result for a party: `own` of the run, or another one that was offered."""
        offered = self._offered.get((party, program))
        return own if offered is None else self._results[program][offered]


class Client:
    """A party's client of the dishonest server, with points at which the party can be killed."""

    timeout, url = 30.0, "local"

    def __init__(self, server: DishonestServer, party: str, fuse: Fuse) -> None:
        self._server, self._party, self._fuse = server, party, fuse
        self._local = LocalClient(server.local)
        self._local.holds = True

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._local, name)

        def around(*arguments: Any, **named: Any) -> Any:
            return self._fuse.around(call, *arguments, **named)

        return around

    def exchange(
        self,
        client_id: str,
        token: str,
        messages: Sequence[Posting] = (),
        after: int = 0,
        waiting: Waiting | None = None,
        permits: Sequence[str] = (),
        receipts: Sequence[Mapping[str, Any]] = (),
        run: str | None = None,
    ) -> Exchanged:
        self._fuse.point()
        found = self._local.exchange(client_id, token, (), 1 << 30, None, permits, receipts)
        self._server.take(self._party, messages)
        if run is not None:
            self.queue(client_id, token, run)
            found = self._local.exchange(client_id, token, (), 1 << 30)
        result, ended = b"", waiting.until_ended if waiting and waiting.with_result else None
        if ended is not None and found.state.programs[ended].status == "done":
            result = self.get_output(client_id, token, ended)
        self._fuse.point()  # the server has the messages, but the party does not learn that
        given = tuple(self._server.give(self._party, after))
        news = {"messages": given, "after": after + len(given), "result": result}
        return found.model_copy(update=news)

    def get_output(self, client_id: str, token: str, program: str) -> bytes:
        own = self._fuse.around(self._local.get_output, client_id, token, program)
        return self._server.result(self._party, program, own)

    def queue(self, client_id: str, token: str, program: str) -> ProgramState:
        found: ProgramState = self._fuse.around(self._local.queue, client_id, token, program)
        if self._server.draw.random() < 0.6:
            self._server.local.work()
        return found
