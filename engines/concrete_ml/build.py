"""Offline build: trains Concrete ML's XGBClassifier and compiles it into the engine's folder."""

from __future__ import annotations

import hashlib
import inspect
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from concrete import fhe
from concrete.ml.sklearn import XGBClassifier
from numpy.typing import NDArray
from onnx import numpy_helper

from engines.concrete.circuit import chosen_parameters
from engines.concrete_ml.features import (
    InputQuantiser,
    Quantisers,
    feature_names,
    party_features,
)
from engines.concrete_ml.messages import NAME, QUANTISERS_FILE, SPECS_FILE
from engines.concrete_ml.reference import TREES_FILE, Trees
from engines.deployment import write_public
from engines.interface import DECIDE, EXPLAIN
from features.encoding import Bits, Layout
from model.polynomial import sample_states

P_ERROR = 2.0**-40
"""Error probability of one lookup, Concrete ML's default."""

_SAMPLE_ROWS = 100


def train(
    layout: Layout, bits: Bits, y: NDArray[Any], trees: int, depth: int, n_bits: int
) -> XGBClassifier:
    """Fit a model with Concrete ML's and XGBoost's defaults, on the features of all parties.

    As in training.models, a change of the explained column as advised never lowers the score if
    the schema requires that.
    """
    parties = layout.schema.party_names
    names = [name for party in parties for name in feature_names(layout, party)]
    features = [party_features(layout, p, bits[:, layout.party_bits(p)]) for p in parties]
    explained = f"{layout.schema.explanation.column} bin"
    sign = 1 if layout.schema.explanation.direction == "more" else -1
    constraints = ",".join(str(sign if name == explained else 0) for name in names)
    model = XGBClassifier(
        n_bits=n_bits,
        n_estimators=trees,
        max_depth=depth,
        n_jobs=1,  # repeatable, and two threads are no faster on small data
        random_state=0,
        monotone_constraints=f"({constraints})" if layout.schema.explanation.monotone else None,
    )
    return model.fit(np.concatenate(features, axis=1).astype(np.float64), y)


def quantisers_of(model: XGBClassifier, layout: Layout) -> Quantisers:
    """Return the model's input and output quantisers, those of the inputs by party."""
    found = iter(model.input_quantizers)
    (output,) = model.output_quantizers
    inputs = {
        party: [
            InputQuantiser(
                feature=name,
                scale=float(quantiser.scale),
                zero_point=int(quantiser.zero_point),
                lowest=-int(quantiser.offset),
                highest=(1 << quantiser.n_bits) - 1 - int(quantiser.offset),
            )
            for name, quantiser in zip(feature_names(layout, party), found, strict=False)
        ]
        for party in layout.schema.party_names
    }
    return Quantisers(
        inputs=inputs,
        output_scale=float(output.scale),
        output_zero_point=int(output.zero_point),
        trees=model.n_estimators,
    )


def trees_of(model: XGBClassifier) -> Trees:
    """Return the model's integer tensors, from the graph that Concrete ML runs."""
    tensors = {
        initialiser.name.rsplit(".", 1)[-1]: numpy_helper.to_array(initialiser)
        for initialiser in model.onnx_model_.graph.initializer
    }
    paths = tensors["weight_2"]
    trees, leaves, nodes = paths.shape
    return Trees(
        chosen=tensors["weight_1"].argmax(axis=1).reshape(trees, nodes),
        threshold=tensors["bias_1"].reshape(trees, nodes),
        paths=paths,
        sums=tensors["bias_2"].reshape(trees, leaves),
        leaves=tensors["weight_3"].reshape(trees, leaves),
    )


def circuit_function(model: XGBClassifier, layout: Layout) -> Callable[..., Any]:
    """Return the function to compile: from every party's features to every tree's output."""
    names = layout.schema.party_names

    def evaluate(**named: Any) -> Any:  # Concrete passes arguments by their names
        inputs = tuple(named[name] for name in names)
        return model._inference(np.concatenate(inputs, axis=1))

    evaluate.__name__ = DECIDE
    evaluate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    )
    return evaluate


def input_rows(trees: Trees, quantisers: Quantisers, layout: Layout, bits: Bits) -> Bits:
    """Return rows that determine the width of every node: every leaf, every state, a sample."""
    features = np.concatenate(quantisers.quantise_all(layout, bits), axis=1)
    leaf_rows = bits[np.unique(trees.reached(features).argmax(axis=0))]
    most = max(code.n_states for code in layout.codes)
    sample = sample_states(layout, max(_SAMPLE_ROWS, most), seed=0)
    for i, code in enumerate(layout.codes):
        for state in range(code.n_states):
            sample[(7 * i + state) % len(sample), i] = code.first_state + state
    return np.concatenate([leaf_rows, layout.bits_of_states(sample)])


def compile_model(
    model: XGBClassifier, quantisers: Quantisers, layout: Layout, rows: Bits
) -> fhe.Circuit:
    """Compile with the options of Concrete ML's `compile`, but one encrypted input per party."""
    compiler = fhe.Compiler(
        circuit_function(model, layout), dict.fromkeys(layout.schema.party_names, "encrypted")
    )
    inputset = [quantisers.quantise_all(layout, row[None, :]) for row in rows]
    return compiler.compile(
        inputset,
        p_error=P_ERROR,
        global_p_error=None,
        single_precision=False,
        loop_parallelize=True,
        compress_evaluation_keys=True,
        compress_input_ciphertexts=True,
    )


def build(
    layout: Layout,
    bits: Bits,
    y: NDArray[Any],
    folder: Path,
    trees: int = 40,
    depth: int = 3,
    n_bits: int = 5,
) -> dict[str, Any]:
    """Write `folder`/concrete_ml and return the engine's facts for the manifest.

    `bits` has shape (rows, layout.n_bits), `y` (rows,) with 1 = approved; `n_bits` is Concrete
    ML's, for inputs and leaves. Generates a throw-away key, to measure the sizes of messages.
    Raises RuntimeError if `reference_scores` differs from the compiled model.
    """
    model = train(layout, bits, y, trees, depth, n_bits)
    quantisers, tensors = quantisers_of(model, layout), trees_of(model)
    rows = input_rows(tensors, quantisers, layout, bits)
    _check(model, quantisers, tensors, layout, np.concatenate([rows, bits]))
    circuit = compile_model(model, quantisers, layout, rows)

    own = folder / NAME
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    # Inside the deployment folder, so that it is removed with it if this process is killed.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        # Compiled, not as MLIR, which the server would have to compile at each start.
        circuit.server.save(Path(temporary) / "server.zip")
        write_public(own / "server.zip", (Path(temporary) / "server.zip").read_bytes())
    specs = circuit.client.specs.serialize()
    write_public(own / SPECS_FILE, specs)
    quantisers_file = quantisers.model_dump_json(indent=1).encode()
    write_public(own / QUANTISERS_FILE, quantisers_file)
    trees_file = tensors.to_bytes()
    write_public(own / TREES_FILE, trees_file)

    client = fhe.Client(fhe.ClientSpecs.deserialize(specs))
    client.keygen(force=True)
    first_states = np.array([code.first_state for code in layout.codes], np.int64)
    values = client.encrypt(
        *quantisers.quantise_all(layout, layout.bits_of_states(first_states)[None, :])
    )
    sizes = {
        party: [len(value.serialize())]
        for party, value in zip(layout.schema.party_names, values, strict=True)
    }

    lookups = int(circuit.programmable_bootstrap_count)
    bins = 1 + len(layout.schema.explained_steps)  # the most runs of an explanation
    reach = quantisers.output_scale * np.abs(tensors.leaves).max(axis=1).sum()
    return {
        "trees": trees,
        "depth": depth,
        "n_bits": n_bits,
        "score_bits": 1 + max(1, math.ceil(math.log2(float(reach)))),
        "lookups": {DECIDE: lookups, EXPLAIN: bins * lookups},
        "parameters": chosen_parameters(circuit) | {"p_error": P_ERROR},
        "compressed": {"evaluation_keys": True, "inputs": True},
        "input_bytes": sizes,
        "evaluation_key_bytes": len(client.evaluation_keys.serialize()),
        "model_sha256": hashlib.sha256(quantisers_file + trees_file).hexdigest(),
    }


def _check(
    model: XGBClassifier, quantisers: Quantisers, trees: Trees, layout: Layout, rows: Bits
) -> None:
    """Raise RuntimeError unless our quantisers and trees equal the model's on all rows."""
    parties = layout.schema.party_names
    features = [party_features(layout, p, rows[:, layout.party_bits(p)]) for p in parties]
    theirs = model.quantize_input(np.concatenate(features, axis=1).astype(np.float64))
    ours = np.concatenate(quantisers.quantise_all(layout, rows), axis=1)
    outputs = model._inference(theirs).reshape(len(rows), -1)
    if not np.array_equal(ours, theirs) or not np.array_equal(trees.outputs(ours), outputs):
        raise RuntimeError(
            "Concrete ML's model differs from the quantisers and trees read from it; use the "
            "pinned concrete-ml (`make setup`)."
        )
