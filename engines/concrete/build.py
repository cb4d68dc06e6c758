"""Offline build: compiles the programs into the engine's folder of a deployment."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from concrete import fhe

from engines.concrete.circuit import chosen_parameters, circuit_inputs, compile_programs
from engines.concrete.messages import NAME, PROGRAMS, SPECS_FILE
from engines.concrete.structure import FILE as STRUCTURE_FILE
from engines.concrete.structure import Structure, Structures
from engines.deployment import write_public
from engines.interface import DECIDE
from features.encoding import Layout
from model.polynomial import sample_states
from model.program import Program


def build(
    programs: dict[str, Program], layout: Layout, folder: Path, sign_only: bool = False
) -> dict[str, Any]:
    """Write `folder`/concrete and return the engine's facts for the manifest.

    Generates throw-away keys, for the structure of messages.
    """
    programs = {name: programs[name] for name in PROGRAMS}
    module = compile_programs(list(programs.values()), layout, sign_only)
    own = folder / NAME
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    # Inside the deployment folder, so that it is removed with it if this process is killed.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        module.server.save(Path(temporary) / "server.zip")
        write_public(own / "server.zip", (Path(temporary) / "server.zip").read_bytes())
    specs = module.client.specs.serialize()
    write_public(own / SPECS_FILE, specs)
    structures = write_structure(specs, layout, own)
    return {
        "sign_only": sign_only,
        "score_bits": programs[DECIDE].score_bits,
        "lookups": {name: len(p.plan.lookups) for name, p in programs.items()},
        "parameters": chosen_parameters(module),
        "input_bytes": {party: [s.size for s in own] for party, own in structures.inputs.items()},
        "evaluation_key_bytes": structures.evaluation_key.size,
    }


def write_structure(specs: bytes, layout: Layout, own: Path) -> Structures:
    """Write the structure of keys and inputs, found with two sets of keys."""
    keys, inputs = [], []
    for row in layout.bits_of_states(sample_states(layout, 2, seed=0)):
        client = fhe.Client(fhe.ClientSpecs.deserialize(specs))
        client.keygen(force=True)
        keys.append(client.evaluation_keys.serialize())
        values = client.encrypt(*circuit_inputs(layout, row), function_name=DECIDE)
        inputs.append([value.serialize() for value in values])
    found = {}
    for position, party in enumerate(layout.schema.party_names):
        bits, states = (Structure.of(*(i[2 * position + part] for i in inputs)) for part in (0, 1))
        found[party] = (bits, states)
    structures = Structures(evaluation_key=Structure.of(*keys), inputs=found)
    write_public(own / STRUCTURE_FILE, structures.model_dump_json().encode())
    return structures
