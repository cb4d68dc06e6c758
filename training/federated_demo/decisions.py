"""Decisions on encrypted records, by a real server and an agent of each party."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.deployment import Deployment
from engines.interface import DECIDE
from engines.levelled.messages import NAME
from features.encoding import Bits
from parties.joint.codes import open_joint
from training.measure.application_time import call_all, require_opened
from training.measure.automated_party import PartyProcess
from training.measure.http_overhead import record_of
from training.measure.remote import Remote
from training.measure.running_server import running_server
from training.opened import opened_values


@dataclass(frozen=True)
class Decisions:
    """Approvals of the applicants, and median seconds of one application.

    `seconds` are from its opening to the decision, with new keys of all parties; of these, the
    server evaluates for `evaluation_seconds`.
    """

    approved: tuple[bool, ...]
    seconds: float
    evaluation_seconds: float
    external_products: int


def decide(folder: Path, bits: Bits) -> Decisions:
    """Decide `bits` (rows, n_bits) under encryption on the deployment in `folder`.

    Each applicant has an application of its own, with joint keys. Raises EvaluationFailed if a
    decision is not that of the integer program, and the errors of starting the processes.
    """
    deployment = Deployment.load(folder)
    programs, layout = deployment.programs_of(NAME), deployment.layout
    approved, seconds, evaluation = [], [], []
    with ExitStack() as stack:
        server = stack.enter_context(running_server(folder, NAME))
        client = stack.enter_context(server.client())
        public, parties = client.model(), layout.schema.party_names
        agents = {
            party: stack.enter_context(
                Remote(f"agent of {party}", PartyProcess, server.url, party, server.data / party)
            )
            for party in parties
        }
        for agent in agents.values():
            agent.ready()
        for row in bits:
            records = record_of(layout, row)
            start = time.perf_counter()
            opening = open_joint(client, parties, parties)
            call_all(agents, "join", {party: (opening.codes[party],) for party in parties})
            found = call_all(agents, "decide", {party: (records[party],) for party in parties})
            seconds.append(time.perf_counter() - start)
            first = found[parties[0]]
            evaluation.append(sum(own for key, own in first.items() if key.startswith("run of ")))
            call_all(agents, "leave", dict.fromkeys(parties, ()))
            expected = opened_values(public, DECIDE, programs[DECIDE].scores(row[None, :])[0])
            require_opened(DECIDE, expected, [(own["opened"],) for own in found.values()])
            approved.append(first["opened"] >= 0)
    return Decisions(
        tuple(approved),
        float(np.median(seconds)),
        float(np.median(evaluation)),
        int(deployment.engine_facts(NAME)["external_products"][DECIDE]),
    )
