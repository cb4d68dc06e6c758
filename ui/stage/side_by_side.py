"""`python -m ui.stage.side_by_side --json`: one example on the levelled engine and on Concrete.

Both run the deployment's shared programs, so that their integers can be compared one by one. The
applicant is fictitious: an example of ui/examples.py. This process plays all parties: it shows
times and equality, not protection.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from engines.deployment import Deployment
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    PUBLIC_KEY,
    EngineFacts,
    ServerEngine,
)
from engines.registry import load_joint_party_engine, load_party_engine
from features.encoding import Bits
from settings import Settings
from ui.entry import run_entry
from ui.examples import load_examples
from utils.errors import InvalidRequest

P = ParamSpec("P")
T = TypeVar("T")
Messages = dict[tuple[str, str], bytes]
PROGRAMS = (DECIDE, EXPLAIN)


class Times:
    """Total seconds by the name of the step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def of(self, name: str, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `action`, add its duration to `name`, and return its result."""
        start = time.perf_counter()
        found = action(*args, **kwargs)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return found


def compare(deployment: Deployment, example: int = 0) -> dict[str, Any]:
    """Run both engines and return their times, scores and facts as plain values.

    `example` is the index of the applicant in `load_examples`. Raises InvalidRequest for another
    number, EngineUnavailable or DeploymentMissing if an engine cannot run here.
    """
    label, record = _applicant(deployment, example)
    bits = {
        party.name: deployment.layout.encode_party(
            party.name, {column.name: record[column.name] for column in party.columns}
        )
        for party in deployment.schema.parties
    }
    whole = deployment.layout.encode(record)[None, :]
    exact = {n: [int(s) for s in deployment.programs[n].scores(whole)[0]] for n in PROGRAMS}
    runs = [_levelled(deployment, bits), _concrete(deployment, bits)]
    return {
        "applicant": label,
        "score_bits": deployment.programs[DECIDE].score_bits,
        "exact": exact,
        "engines": runs,
        "equal": all(run["scores"] == exact for run in runs),
    }


def _levelled(deployment: Deployment, bits: Mapping[str, Bits]) -> dict[str, Any]:
    from engines.levelled.ceremony import make_joint_keys
    from engines.levelled.server import LevelledServer

    times, names = Times(), tuple(bits)
    server = LevelledServer(deployment, shared=True)
    party = load_joint_party_engine(server.public, server.client_files())
    keys = times.of("keys", make_joint_keys, party, names, b"side by side")
    messages: Messages = {
        (names[0], PUBLIC_KEY): party.seal_public_key(names[0], keys.public_key),
        **_encrypted(times, bits, lambda name: party.encrypt(name, bits[name], keys.public_key)),
    }

    def opened(program: str, result: bytes) -> tuple[float, ...]:
        partials = {
            name: party.partial(
                program,
                result,
                name,
                keys.public_key,
                keys.shares[name].secret,
                keys.pairwise[name],
            )
            for name in names
        }
        return party.combine(program, result, partials)

    return _evaluated(server, messages, times, opened)


def _concrete(deployment: Deployment, bits: Mapping[str, Bits]) -> dict[str, Any]:
    from engines.concrete.server import ConcreteServer

    times = Times()
    server = ConcreteServer(deployment)
    party = load_party_engine(server.public, server.client_files())
    holder = next(s.party for s in server.public.slots if s.file_name == EVALUATION_KEY)
    pair = times.of("keys", party.make_keys)
    messages: Messages = {
        (holder, EVALUATION_KEY): pair.evaluation,
        **_encrypted(times, bits, lambda name: party.encrypt(name, bits[name], pair.secret)),
    }
    server.load_key(messages)

    def opened(program: str, result: bytes) -> tuple[float, ...]:
        return party.open(program, result, pair.secret)

    return _evaluated(server, messages, times, opened)


def _encrypted(times: Times, bits: Mapping[str, Bits], encrypt: Callable[[str], bytes]) -> Messages:
    return {(name, ENCRYPTED_INPUTS): times.of("encrypt", encrypt, name) for name in bits}


def _evaluated(
    server: ServerEngine,
    messages: Messages,
    times: Times,
    opened: Callable[[str, bytes], tuple[float, ...]],
) -> dict[str, Any]:
    """Run each program twice and keep the second time: the first run includes loading."""
    scores = {}
    for program in PROGRAMS:
        server.evaluate(program, messages)
        result = times.of(program, server.evaluate, program, messages)
        found = times.of("open", opened, program, result)
        scores[program] = [int(score) for score in found]
    facts: EngineFacts = server.facts
    return {
        "name": facts.name,
        "label": facts.label,
        "secret_key": facts.secret_key,
        "sent_bytes": sum(len(message) for message in messages.values()),
        "seconds": times.seconds,
        "scores": scores,
    }


def _applicant(deployment: Deployment, example: int) -> tuple[str, dict[str, Any]]:
    examples = load_examples(deployment.schema)
    if not 0 <= example < len(examples):
        raise InvalidRequest(f"There are {len(examples)} examples, numbered from 0.")
    return examples[example].label, examples[example].record


def main(words: list[str]) -> int:
    """Print the comparison; returns the exit code."""
    parser = CommandParser(prog="python -m ui.stage.side_by_side")
    parser.add_argument("--json", action="store_true", help="print one line, for the page")
    parser.add_argument("--deployment", type=Path, help="folder; from the settings by default")
    parser.add_argument("--example", type=int, default=0, help="index of the example applicant")
    asked = parser.parse_args(words)

    def run(settings: Settings) -> None:
        found = compare(Deployment.load(asked.deployment or settings.deployment), asked.example)
        print(json.dumps(found, indent=None if asked.json else 2))

    return run_entry(run)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
