"""The exact reference of the encrypted model, computed in the clear with NumPy alone.

It uses Hummingbird's representation of the trees, as Concrete ML does: comparisons, the leaf that
they reach, and the leaf's value, all in integers.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.concrete_ml.features import Quantisers
from engines.concrete_ml.messages import NAME, QUANTISERS_FILE
from features.encoding import Bits, Layout

TREES_FILE = "trees.npz"


@dataclass(frozen=True)
class Trees:
    """The integer tensors of the quantised model; the server's secret.

    `chosen` (trees, nodes) is the feature that a node compares with `threshold` (trees, nodes).
    A leaf is reached if `paths` (trees, leaves, nodes) times the nodes' outcomes equals `sums`
    (trees, leaves); the tree's output is then the leaf's entry in `leaves` (trees, leaves).
    """

    chosen: NDArray[np.int64]
    threshold: NDArray[np.int64]
    paths: NDArray[np.int64]
    sums: NDArray[np.int64]
    leaves: NDArray[np.int64]

    def reached(self, features: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the leaves that are reached: (rows, features) to (rows, trees, leaves).

        A tree with fewer leaves than others is padded with leaves of value 0 that are always
        reached.
        """
        holds = features[:, self.chosen] < self.threshold
        counted = np.matmul(self.paths, holds.astype(np.int64)[..., None])[..., 0]
        return np.asarray(counted == self.sums)

    def outputs(self, features: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return every tree's output: quantised (rows, features) to (rows, trees)."""
        return np.asarray((self.reached(features) * self.leaves).sum(axis=-1), np.int64)

    def to_bytes(self) -> bytes:
        """Return the tensors as an .npz file."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> Trees:
        with np.load(path, allow_pickle=False) as archive:
            return cls(*(archive[f.name] for f in fields(cls)))


def reference_scores(folder: Path, layout: Layout, bits: Bits) -> NDArray[np.float64]:
    """Return exactly the log-odds of approval (rows,) that an encrypted decision opens to.

    `folder` is the deployment's, `bits` has shape (rows, n_bits).
    """
    own = folder / NAME
    quantisers = Quantisers.model_validate_json((own / QUANTISERS_FILE).read_bytes())
    features = np.concatenate(quantisers.quantise_all(layout, bits), axis=-1)
    return quantisers.scores(Trees.load(own / TREES_FILE).outputs(features))
