"""A complete application over HTTP: server, witness and every party's agent in processes.

All processes run on one machine and communicate over the loopback interface. The agents are those
of `python -m parties` without a page: the measurement, instead of a person, gives each its record
and agrees to the programs. Times are wall times as seen by the measuring process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from contract.http import Traffic
from engines.interface import DECIDE, EXPLAIN
from features.encoding import Bits, Layout
from model.program import Program
from parties.client import ServerClient
from parties.joint.codes import open_joint
from parties.results import SERVER
from training.measure.automated_party import PartyProcess
from training.measure.http_overhead import record_of
from training.measure.machine import cpu_seconds, descendants, peak_bytes
from training.measure.remote import Remote
from training.measure.running_server import running_server
from training.opened import opened_values
from utils.errors import EvaluationFailed

_NO_TRANSFER = ("ran ", "failed ", "run ")
"""Traffic entries whose size is not that of a transferred body."""


def application_time(
    folder: Path,
    programs: Mapping[str, Program],
    bits: Bits,
    rounds: int,
    engine: str = "levelled",
    *,
    witnessed: bool = True,
) -> dict[str, Any]:
    """Measure `rounds` applications, one row of `bits` (rows, n_bits) each, after a warm-up.

    With `witnessed`, a witness checks every result.

    Opened scores, or signs, are compared with those of `programs`. Raises EvaluationFailed if one
    differs, and errors from starting the server and the agents.
    """
    with ExitStack() as stack:
        server = stack.enter_context(running_server(folder, engine, witnessed=witnessed))
        client = stack.enter_context(server.client())
        public = client.model()
        layout = Layout(public.schema_)
        agents = {
            party: stack.enter_context(
                Remote(f"agent of {party}", PartyProcess, server.url, party, server.data / party)
            )
            for party in layout.schema.party_names
        }
        for agent in agents.values():
            agent.ready()
        processes = {"server": server.process}
        if server.witness:
            processes["witness"] = server.witness
        used: dict[str, float] = {}
        taken: list[dict[str, float]] = []
        called: list[dict[str, int]] = []
        for round_ in range(rounds + 1):
            row = bits[round_ % len(bits)]
            expected = {
                name: opened_values(public, name, program.scores(row[None, :])[0])
                for name, program in programs.items()
            }
            if round_ == min(rounds, 1):  # after the warm-up
                used = {name: cpu_seconds(process) for name, process in processes.items()}
            seconds, calls, traffic = _application(client, agents, record_of(layout, row), expected)
            if round_ or not rounds:
                taken.append(seconds)
                called.append(calls)
        workers = [peak_bytes(process) for process in descendants(server.process)]
        return {
            "rounds": len(taken),
            "seconds": {step: float(np.median([t[step] for t in taken])) for step in taken[0]},
            "calls": {part: float(np.median([c[part] for c in called])) for part in called[0]},
            "processor_seconds": {
                name: (cpu_seconds(process) - used[name]) / len(taken)
                for name, process in processes.items()
            },
            "bytes": traffic_by_step(traffic, layout.schema.party_names),
            "peak_bytes": {
                "server": peak_bytes(server.process),
                # The server's other processes only manage shared resources.
                "server's worker": max(workers, default=0),
                **({"witness": peak_bytes(server.witness)} if server.witness else {}),
                **{agent.name: agent.peak_bytes() for agent in agents.values()},
            },
        }


def _application(
    client: ServerClient,
    agents: Mapping[str, Remote],
    records: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, tuple[float, ...]],
) -> tuple[dict[str, float], dict[str, int], Traffic]:
    """Run one application from opening to explanation.

    Returns seconds by step, the calls of all parties to the server, and the traffic. `expected` has
    the values that each program opens.
    """
    times = [time.perf_counter()]
    names = client.model().schema_.party_names
    opening = open_joint(client, names, names)  # every party waits for the explanation
    call_all(agents, "join", {party: (opening.codes[party],) for party in agents})
    times.append(time.perf_counter())
    decided = call_all(agents, "decide", {party: (records[party],) for party in agents})
    times.append(time.perf_counter())
    to_decision = _calls(agents)
    explained = call_all(agents, "explain", dict.fromkeys(agents, ()))
    times.append(time.perf_counter())
    calls = {"decision": to_decision, "explanation": _calls(agents) - to_decision}
    traffic = client.traffic(opening.client_id, opening.watch_token)
    call_all(agents, "leave", dict.fromkeys(agents, ()))
    require_opened(DECIDE, expected[DECIDE], [(found["opened"],) for found in decided.values()])
    require_opened(EXPLAIN, expected[EXPLAIN], [found["opened"] for found in explained.values()])
    keys, decision, explanation = np.diff(times)
    seconds = {
        "opening_to_keys": float(keys),
        "records_to_decision": float(decision),
        "opening_to_decision": float(keys + decision),
        "agreement_to_explanation": float(explanation),
        **{
            f"{step}, slowest party": max(found[step] for found in decided.values())
            for step in ("encrypt", "send")
        },
        **{
            step: max(found[step] for found in answers.values())
            for answers in (decided, explained)
            for step in next(iter(answers.values()))
            if step.startswith("run of ")
        },
    }
    return seconds, calls, traffic


def _calls(agents: Mapping[str, Remote]) -> int:
    """Return the calls of all agents for their present application."""
    return sum(call_all(agents, "calls", dict.fromkeys(agents, ())).values())


def call_all(
    agents: Mapping[str, Remote], method: str, arguments: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Call a method of all agents concurrently; returns their results once all have finished."""
    for party, agent in agents.items():
        agent.begin(method, *arguments[party])
    return {party: agent.answer() for party, agent in agents.items()}


def require_opened(name: str, expected: tuple[float, ...], opened: list[tuple[float, ...]]) -> None:
    """Raise EvaluationFailed if the opened values of any party are not those expected."""
    for values in opened:
        if values != expected:
            raise EvaluationFailed(f"Opened {values}, but expected {expected} ({name}).")


def traffic_by_step(traffic: Traffic, parties: list[str]) -> dict[str, Any]:
    """Return the bytes that each party sent and received, by step in order, and in total.

    These are sizes of bodies without HTTP headers. Messages relayed by the server are sent as
    base64, which adds a third.
    """
    steps: dict[str, dict[str, dict[str, int]]] = {}
    for item in traffic.items:
        if item.what.startswith(_NO_TRANSFER):
            continue
        step = steps.setdefault(item.what, {"sent": {}, "received": {}})
        if item.sender != SERVER:
            step["sent"][item.sender] = step["sent"].get(item.sender, 0) + item.bytes
        takers = parties if item.receiver is None else [item.receiver]
        for party in takers:
            if party not in (item.sender, SERVER):
                step["received"][party] = step["received"].get(party, 0) + item.bytes
    return {
        "steps": [{"step": name, **step} for name, step in steps.items()],
        **{
            way: {p: sum(step[way].get(p, 0) for step in steps.values()) for p in parties}
            for way in ("sent", "received")
        },
    }
