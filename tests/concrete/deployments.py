"""Small deployments for Concrete, and whole encrypted runs on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.concrete.build import build
from engines.concrete.messages import PROGRAMS
from engines.concrete.party import ConcreteParty
from engines.concrete.server import ConcreteServer
from engines.deployment import Deployment
from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY, KeyPair, Slot, slot_of
from features.encoding import Layout
from model.booster import Ensemble
from model.program import Program, decide_program, explain_program
from model.quantise import quantise
from tests.concrete.compiled import Compiled
from tests.conftest import write_small_deployment


class Runs:
    """A deployment, both halves of the engine, and one keyset."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        deployment = Deployment.load(folder)
        self.folder, self.layout = folder, layout
        programs = deployment.programs_of("concrete")
        self.programs = {name: programs[name] for name in PROGRAMS}
        self.facts = deployment.engine_facts("concrete")
        self.server = ConcreteServer(deployment)
        self.party = ConcreteParty(self.server.public, self.server.client_files())
        self.holder = layout.schema.party_names[0]
        self.keys: KeyPair = self.party.make_keys()
        self.key_slot = self.slot(self.holder, EVALUATION_KEY)

    @classmethod
    def built(
        cls, compiled: Compiled, name: str, layout: Layout, programs: dict[str, Program]
    ) -> Runs:
        """Return an instance for a deployment of these programs, called `name`."""

        def write(folder: Path) -> Path:
            facts = build(programs, layout, folder)
            write_small_deployment(folder, layout.schema, b"{}", programs, {"concrete": facts})
            return folder

        return cls(compiled.deployment(name, write), layout)

    def slot(self, party: str, file_name: str = ENCRYPTED_INPUTS) -> Slot:
        found = slot_of(self.server.public.slots, party, file_name)
        assert found is not None
        return found

    def messages(self, row: np.ndarray) -> dict[tuple[str, str], bytes]:
        """Return the parties' messages for one row of bits, each encrypted separately."""
        sent = {(self.holder, EVALUATION_KEY): self.keys.evaluation}
        for party in self.layout.schema.party_names:
            bits = row[self.layout.party_bits(party)]
            sent[party, ENCRYPTED_INPUTS] = self.party.encrypt(party, bits, self.keys.secret)
        return sent

    def opened(self, program: str, sent: dict[tuple[str, str], bytes]) -> tuple[float, ...]:
        result = self.server.evaluate(program, sent)
        return self.party.open(program, result, self.keys.secret)


def programs_of(ensemble: Ensemble, layout: Layout, score_bits: int = 7) -> dict[str, Program]:
    decide = decide_program(quantise(ensemble, layout, score_bits), layout)
    return {"decide": decide, "explain": explain_program(decide, layout)}
