"""Compiling two programs into the engine's folder of a deployment (offline)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from concrete import fhe

from engines.concrete.circuit import chosen_parameters, circuit_inputs, compile_programs
from engines.concrete.messages import NAME, SPECS_FILE
from engines.deployment import write_public
from engines.interface import DECIDE
from engines.payload import join_parts
from features.encoding import Layout
from model.program import Program


def build(
    programs: dict[str, Program], layout: Layout, folder: Path, sign_only: bool = False
) -> dict[str, Any]:
    """Write `folder`/concrete and answer what the manifest records of the engine.

    Makes one throw-away key, to measure the sizes of messages and for the warm-up inputs.
    """
    module = compile_programs(list(programs.values()), layout, sign_only)
    own = folder / NAME
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        module.server.save(Path(temporary) / "server.zip")
        write_public(own / "server.zip", (Path(temporary) / "server.zip").read_bytes())
    specs = module.client.specs.serialize()
    write_public(own / SPECS_FILE, specs)
    client = fhe.Client(fhe.ClientSpecs.deserialize(specs))
    client.keygen(force=True)
    first_states = np.array([code.first_state for code in layout.codes], np.int64)
    inputs = circuit_inputs(layout, layout.bits_of_states(first_states))
    values = client.encrypt(*inputs, function_name=DECIDE)
    sizes: dict[str, list[int]] = {}
    for position, party in enumerate(layout.schema.party_names):
        parts = [value.serialize() for value in values[2 * position : 2 * position + 2]]
        sizes[party] = [len(part) for part in parts]
        write_public(own / f"warm_up_{party}.bin", join_parts(parts))
    return {
        "sign_only": sign_only,
        "score_bits": programs[DECIDE].score_bits,
        "lookups": {name: len(p.plan.lookups) for name, p in programs.items()},
        "parameters": chosen_parameters(module),
        "input_bytes": sizes,
        "evaluation_key_bytes": len(client.evaluation_keys.serialize()),
    }
