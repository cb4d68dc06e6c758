"""A small model with the deployed parameters, and applications to it without a network.

Ring, gadget and noise are those of the deployment; only the model is small (12 bits of three
parties), so that a complete encrypted application takes a few hundredths of a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from engines.deployment import Deployment
from engines.envelope import unseal
from engines.interface import ENCRYPTED_INPUTS, PUBLIC_KEY, KeyShare
from engines.levelled import server as server_module
from engines.levelled.build import SCORE, build
from engines.levelled.ceremony import make_joint_keys
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import SecretShare
from engines.levelled.messages import split_inputs
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, MODULUS_BITS
from engines.levelled.party import LevelledParty
from engines.levelled.server import LevelledServer
from features.encoding import Bits, Layout
from features.schema import Schema
from model.booster import parse_ensemble
from model.program import decide_program, explain_program
from model.quantise import quantise
from tests.conftest import write_small_deployment
from training.models import Shape, Stage, fit, model_json

PARTIES = ("applicant", "bank", "credit_agency")
CONTEXT = b"a test"
EVERYTHING = 1.0 / 2**MODULUS_BITS


def small_schema() -> Schema:
    parties = [
        {
            "name": name,
            "label": name,
            "columns": [
                {
                    "name": f"{name}_years",
                    "label": "Years",
                    "kind": "ordinal",
                    "minimum": 0,
                    "maximum": 99,
                    "cuts": [2, 5, 10],
                    "default": 4,
                },
                {"name": f"{name}_flag", "label": "Flag", "kind": "boolean"},
            ],
        }
        for name in PARTIES
    ]
    explanation = {"column": "applicant_years", "phrase": "years", "monotone": False}
    return Schema.parse(
        {
            "name": "small",
            "title": "Small",
            "parties": parties,
            "decision": {"target": "Bad"},
            "explanation": explanation,
        }
    )


def small_deployment(folder: Path, opens: str = SCORE) -> Deployment:
    """Train, quantise and build a model of 8 trees for the levelled engine."""
    layout = Layout(small_schema())
    draw = np.random.default_rng(3)
    bits = random_bits(layout, draw, 2000)
    weights = draw.normal(size=layout.n_bits)
    centred = (bits - bits.mean(axis=0)) @ weights
    labels = (centred + draw.normal(size=len(bits)) > 0).astype(np.int8)
    booster = model_json(
        fit(Shape("small", (Stage(8, 2, learning_rate=0.5),)), layout, bits, labels)
    )
    ensemble = parse_ensemble(json.loads(booster), layout)

    def programs(width: int) -> dict[str, Any]:
        decide = decide_program(quantise(ensemble, layout, width, bits), layout)
        return {"decide": decide, "explain": explain_program(decide, layout)}

    facts = build(programs, layout, folder, opens=opens)
    engines = {"clear": {}, "levelled": facts}
    write_small_deployment(folder, layout.schema, booster, programs(7), engines)
    return Deployment.load(folder)


def random_bits(layout: Layout, draw: np.random.Generator, rows: int) -> Bits:
    """Return the bits of random valid records, shape (rows, n_bits)."""
    states = [draw.integers(c.first_state, c.first_state + c.n_states, rows) for c in layout.codes]
    return layout.bits_of_states(np.stack(states, axis=1))


@dataclass(frozen=True)
class EngineHalves:
    """Both halves of the engine, for the model of one deployment."""

    deployment: Deployment
    server: LevelledServer
    party: LevelledParty

    @classmethod
    def of(cls, deployment: Deployment) -> EngineHalves:
        server = LevelledServer(deployment)
        return cls(deployment, server, LevelledParty(server.public, server.client_files()))

    def scores(self, program: str, bits: Bits) -> np.ndarray:
        return self.deployment.programs_of("levelled")[program].scores(bits[None])[0]

    def score_bits(self, program: str) -> int:
        return self.deployment.programs_of("levelled")[program].score_bits


@dataclass(frozen=True)
class Opened:
    """One result: its message, the outcome before re-randomisation, all shares, and the truth."""

    program: str
    message: bytes
    before: tuple[np.ndarray, np.ndarray]
    partials: dict[str, bytes]
    truth: np.ndarray

    @property
    def result(self) -> Result:
        payload = bytes(unseal(self.message)[1])
        return Result.from_bytes(payload, DEFAULT, len(self.truth) + KNOWN_ZEROS)


@dataclass(frozen=True)
class Application:
    """All data of one application; the views of coalitions are selected from it."""

    bits: Bits
    shares: dict[str, KeyShare]
    public_key: bytes
    pairwise: dict[str, dict[str, bytes]]
    messages: dict[tuple[str, str], bytes]
    opened: dict[str, Opened]

    def secret(self, party: str) -> SecretShare:
        return SecretShare.from_bytes(self.shares[party].secret, DEFAULT)

    def inputs(self, party: str, layout: Layout) -> Ggsw:
        own = layout.party_bits(party)
        payload = unseal(self.messages[party, ENCRYPTED_INPUTS])[1]
        return split_inputs(payload, own.stop - own.start, DEFAULT)[1].decode()


def run(halves: EngineHalves, bits: Bits) -> Application:
    """Run a complete application on encrypted `bits`, shape (n_bits,), with fresh keys."""
    engine, layout = halves.party, halves.deployment.layout
    keys = make_joint_keys(engine, PARTIES, CONTEXT)
    key = keys.public_key
    messages = {(PARTIES[0], PUBLIC_KEY): engine.seal_public_key(PARTIES[0], key)}
    for name in PARTIES:
        own = bits[layout.party_bits(name)]
        messages[name, ENCRYPTED_INPUTS] = engine.encrypt(name, own, key)
    application = Application(bits, keys.shares, key, keys.pairwise, messages, {})
    for program in ("decide", "explain"):
        application.opened[program] = _opened(halves, application, program)
    return application


def _opened(halves: EngineHalves, application: Application, program: str) -> Opened:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    rerandomise = server_module.rerandomise

    def watched(mask: Any, body: Any, *rest: Any) -> Result:
        seen.append((mask.copy(), body.copy()))
        return rerandomise(mask, body, *rest)

    with patch.object(server_module, "rerandomise", watched):
        message = halves.server.evaluate(program, application.messages)
    partials = {
        name: halves.party.partial(
            program,
            message,
            name,
            application.public_key,
            application.shares[name].secret,
            application.pairwise[name],
        )
        for name in PARTIES
    }
    truth = halves.scores(program, application.bits)
    return Opened(program, message, seen[0], partials, truth)


def torus(words: np.ndarray) -> np.ndarray:
    """Return words as numbers in [0, 1)."""
    return words.astype(np.float64) * EVERYTHING % 1.0


def combined(halves: EngineHalves, opened: Opened, partials: Mapping[str, bytes]) -> list[int]:
    return [int(s) for s in halves.party.combine(opened.program, opened.message, partials)]
