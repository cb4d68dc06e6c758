"""The state of one browser session; the records themselves stay in its form fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parties.results import (
    SERVER,
    Decision,
    ExplanationOpened,
    KeysMade,
    Message,
    ProgramRun,
    ReasonsOpened,
    SliceSent,
)
from parties.run_follower import RunNews
from ui.error_words import ErrorWords


@dataclass
class PageState:
    """The state, which handlers change in place so that concurrent ones do not undo each other.

    `changed` names the parties whose fields differ from what they sent. `asked` is the program
    whose run is awaited, `news` its latest progress, and `stopping` is True once cancelling was
    requested. `cancelled` is the program whose run was cancelled. `step` is the step that was taken
    last, and `refused` has why steps could not be taken. `refused_fields` names the parties whose
    fields' values are the cause, and `drawn` the parts of the view that the latest
    progress report has drawn, by their place.
    """

    client_id: str | None = None
    keys: KeysMade | None = None
    sent: dict[str, SliceSent] = field(default_factory=dict)
    sent_values: dict[str, list[Any]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    run: ProgramRun | None = None
    decision: Decision | None = None
    explained: ExplanationOpened | None = None
    reasons: ReasonsOpened | None = None
    messages: list[Message] = field(default_factory=list)
    asked: str = ""
    news: RunNews | None = None
    stopping: bool = False
    cancelled: str = ""
    step: str = ""
    drawn: dict[int, str] = field(default_factory=dict)
    refused: dict[str, ErrorWords] = field(default_factory=dict)
    refused_fields: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Reset to the initial state."""
        self.client_id = self.keys = None
        self.sent.clear()
        self.sent_values.clear()
        self.changed.clear()
        self.messages.clear()
        self.refused.clear()
        self.forget_results()

    def forget_results(self) -> None:
        """Drop the results: a slice has been replaced, and they belong to the previous record."""
        self.run = self.decision = self.explained = self.reasons = None
        self.cancelled = ""

    def asks(self, program: str) -> None:
        """Note that a run of `program` has been requested."""
        self.asked, self.news, self.stopping, self.cancelled = program, None, False, ""

    def heard(self) -> None:
        """Note that the requested run has ended, successfully or not."""
        self.asked, self.news, self.stopping = "", None, False

    def made(self, keys: KeysMade) -> None:
        self.clear()
        self.client_id, self.keys = keys.client_id, keys
        self.messages.extend(keys.messages)

    def took(self, slice_sent: SliceSent, values: Sequence[Any]) -> None:
        """Note a slice that was sent; `values` are the party's fields as they were sent."""
        self.client_id = slice_sent.client_id
        self.keys = slice_sent.keys or self.keys
        self.sent[slice_sent.party] = slice_sent
        self.sent_values[slice_sent.party] = list(values)
        self.changed.discard(slice_sent.party)
        self.messages.extend(slice_sent.messages)
        for message in slice_sent.messages:  # the last party's send uploads those of all
            waiting = self.sent.get(message.sender)
            if waiting is not None and waiting.waits and message.receiver == SERVER:
                self.sent[message.sender] = waiting.uploaded(message)
        self.forget_results()

    def compare(self, party: str, values: Sequence[Any]) -> None:
        """Note whether a party's fields differ from what it sent."""
        if party in self.sent and self.sent_values[party] != list(values):
            self.changed.add(party)
        else:
            self.changed.discard(party)

    def ran(self, run: ProgramRun) -> None:
        self.run = run
        self.decision = self.explained = self.reasons = None
        self.messages.extend(run.messages)

    def opened(self, decision: Decision) -> None:
        self.decision = decision
        self.messages.extend(decision.messages)

    def explains(self, explained: ExplanationOpened) -> None:
        self.explained = explained
        self.messages.extend(explained.messages)

    def states(self, reasons: ReasonsOpened) -> None:
        self.reasons = reasons
        self.messages.extend(reasons.messages)
