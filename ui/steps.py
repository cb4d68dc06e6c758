"""The strip of steps, and descriptions of the joint protocol's messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contract.http import ApplicationState
from engines.interface import (
    CHALLENGE,
    DECIDE,
    EXPLAIN,
    MASKED_OF,
    MASKS_OF,
    REASONS,
)
from parties.results import PROGRAM_WORDS
from ui.units import escape

STEP_WORDS = {
    "hello": "introduces itself",
    "share_commit": "commits to its share of the public key",
    "share_open": "reveals its share of the public key",
    "record_commit": "commits to its encrypted record",
    "agree": "agrees to open {}",
    "confirm": "confirms the encrypted result of {}",
    "partial": "its decryption share of {}",
    "run": "requests {}",
    "ran": "has computed {}",
    "failed": "could not compute {}",
    "cancelled": "cancelled computing {}",
    "signed": "has signed {}",
    "refused": "refuses to sign {}",
    "result": "the encrypted result of {}",
    "public_key": "the joint public key",
    "encrypted_inputs": "its encrypted record",
    CHALLENGE: "the challenge that checks the records",
    MASKS_OF[DECIDE]: "its encrypted mask of the score",
    MASKS_OF[EXPLAIN]: "its encrypted masks of the scores",
    MASKED_OF[DECIDE]: "the masked score",
    MASKED_OF[EXPLAIN]: "the masked scores",
    MASKS_OF[REASONS]: "its encrypted masks of the reasons",
    MASKED_OF[REASONS]: "the masked reasons",
}


@dataclass(frozen=True)
class Step:
    """One item of the strip; `count` of `due` parts are done, or it is `needless`."""

    name: str
    count: int
    due: int = 1
    needless: bool = False

    @property
    def done(self) -> bool:
        return self.needless or self.count >= self.due

    @property
    def words(self) -> str:
        return f"{self.name} {self.count}/{self.due}" if self.due > 1 else self.name


def key_step(joined: int, parties: int, made: bool) -> Step:
    """Return the first step: the parties join, then make the joint key."""
    if made or joined >= parties:
        return Step("Key", int(made))
    return Step("Join", joined, parties)


def run_step(name: str, state: ApplicationState | None, program: str, done: bool) -> Step:
    """Return a program's step; while its run is queued or running, the name is that status."""
    found = None if state is None else state.run_of(program)
    if found is not None and found.under_way:
        name = found.status.capitalize()
    return Step(name, int(done))


def reasons_step(state: ApplicationState | None, done: bool, needless: bool) -> Step:
    """Return the last step; reasons are `needless` if the application was approved."""
    step = run_step("Reasons", state, REASONS, done)
    return replace(step, needless=True) if needless and not done else step


def show_steps(steps: Sequence[Step]) -> str:
    """Return the strip, with every step marked done, next or later."""
    current = next((i for i, step in enumerate(steps) if not step.done), len(steps))
    items = []
    for i, step in enumerate(steps):
        kind = "done" if step.done else "next" if i == current else "later"
        mark = "–" if step.needless else "✓" if step.done else str(i + 1)
        now = ' aria-current="step"' if kind == "next" else ""
        words = escape(step.words) + ("<i> (not needed)</i>" if step.needless else "")
        items.append(f'<li class="{kind}"{now}><b>{mark}</b><span>{words}</span></li>')
    return f'<ol class="ts-strip" aria-label="Steps">{"".join(items)}</ol>'


def step_words(what: str) -> str:
    """Return a description of a message such as `partial:decide` or `encrypted_inputs`."""
    plain = what.removeprefix("encrypted ") if " of " in what else what
    kind, _, program = plain.replace(":", " ").replace(" of ", " ").partition(" ")
    words = STEP_WORDS.get(kind, kind.replace("_", " "))
    if not program:
        return words
    program = PROGRAM_WORDS.get(program, program)
    return words.format(program) if "{}" in words else f"{words} {program}"
