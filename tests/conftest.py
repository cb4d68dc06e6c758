"""Small deployments, boosters and data shared by many tests, built once per session."""

import gc
import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from engines.deployment import write_manifest, write_public
from engines.levelled.build import build as build_levelled
from features.encoding import Layout
from features.schema import Schema
from tests.preloaded import PreloadedProcesses
from training.data import split, training_frame
from training.frontier import programs_for
from training.measure.remote import Remote
from training.models import Shape, Stage, fit, model_json
from trials.object_store import object_store, object_stores
from trials.postgres import postgres
from utils.child_process import ChildProcess

__all__ = ["object_store", "object_stores", "postgres"]

# As in utils/collector.py: scanning the thousands of tests again and again while they are collected
# took half of that time.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files; the tests of each keep their order, and share what is expensive to make."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST_FIRST)}

    @lru_cache
    def rank(path: Path) -> int:
        places = (path, *path.parents)
        return min((ranks[place] for place in places if place in ranks), default=len(ranks))

    items.sort(key=lambda item: rank(item.path))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


ROOT = Path(__file__).resolve().parent.parent
LONGEST_FIRST = (
    "ui/test_stage.py",
    "ui/test_page.py",
    "parties/joint/test_member.py",
    "ui/test_own_data_page.py",
    "service/storage/test_disk_full.py",
    "parties/joint/test_signs.py",
    "trials/test_load.py",
    "service/execution/test_ray.py",
    "parties/test_expiry.py",
    "test_federated_example.py",
    "parties/joint",
    "service",
    "parties",
    "ui/test_documentation.py",
    "training/measure/test_benchmark.py",
    "ui",
    "trials",
    "attacks",
    "deploy",
    "training",
)
"""Files and folders that take longest, in the order in which parallel processes begin them.

A long file that began last would be left for one process at the end. Tests of the parties and of
the server mostly wait, so they run while Concrete computes (Makefile).
"""
METRICS = {
    "shape": "small",
    "data": {
        "source": "synthetic (training/synthetic.py)",
        "target": "Denied",
        "rows": 3000,
        "drawn": 3000,
        "seed": 5,
        "approved_share": 0.6,
    },
    "test": {
        "rows": 600,
        "reference_auc": 0.8,
        "reference_accuracy": 0.7,
        "auc": 0.79,
        "accuracy": 0.7,
        "score_bits": 7,
    },
    "groups": {},
}


@pytest.fixture(scope="session", autouse=True)
def preloaded_processes():
    """Start processes as copies of those that have imported their libraries."""
    processes = PreloadedProcesses()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildProcess, "launch", staticmethod(processes.launch))
        patch.setattr(Remote, "launch", staticmethod(processes.launch_remote))
        yield
    processes.stop()


@pytest.fixture(scope="session")
def schema():
    return Schema.load(ROOT / "features" / "credit_card.json")


@pytest.fixture(scope="session")
def layout(schema):
    return Layout(schema)


@pytest.fixture(scope="session")
def credit_data(schema, layout):
    """Return (bits, labels) of training rows and of held-out rows."""
    frame, y = training_frame(schema, None, None, rows=3000, seed=5)
    parts = split(frame, y, seed=5)
    return [(layout.encode_frame(f), labels) for f, labels in (parts.train, parts.test)]


@pytest.fixture(scope="session")
def small_booster(layout, credit_data):
    """Return the JSON of a booster of 12 trees of depth 2, enough to have interactions."""
    (bits, y), _ = credit_data
    return model_json(fit(Shape("small", (Stage(12, 2, learning_rate=0.5),)), layout, bits, y))


@pytest.fixture(scope="session")
def small_programs_of(layout, small_booster, credit_data):
    """Return a function from a score width to the small booster's programs."""

    @lru_cache
    def make(score_bits):
        return programs_for(small_booster, layout, credit_data[0][0], score_bits)

    return make


@pytest.fixture(scope="session")
def small_programs(small_programs_of):
    return small_programs_of(7)


def write_small_deployment(folder, schema, booster, programs, engines):
    write_public(folder / "schema.json", schema.model_dump_json().encode())
    write_public(folder / "booster.json", booster)
    for name, program in programs.items():
        write_public(folder / "programs" / f"{name}.json", program.to_json().encode())
    return write_manifest(folder, engines)


@pytest.fixture(scope="session")
def clear_deployment(tmp_path_factory, schema, small_booster, small_programs):
    """Return a deployment folder that only the clear engine can run."""
    folder = tmp_path_factory.mktemp("clear_deployment")
    write_small_deployment(folder, schema, small_booster, small_programs, {"clear": {}})
    return folder


@pytest.fixture(scope="session")
def levelled_deployment(tmp_path_factory, layout, small_booster, small_programs, small_programs_of):
    """Return a deployment folder for the clear and the levelled engine, which opens scores."""
    folder = tmp_path_factory.mktemp("levelled_deployment")
    engines = {
        "clear": {},
        "levelled": build_levelled(small_programs_of, layout, folder, opens="score"),
    }
    write_small_deployment(folder, layout.schema, small_booster, small_programs, engines)
    return folder


@pytest.fixture(scope="session")
def signs_deployment(tmp_path_factory, layout, small_booster, small_programs, small_programs_of):
    """Return the same as `levelled_deployment`, except that only signs are opened."""
    folder = tmp_path_factory.mktemp("signs_deployment")
    engines = {"clear": {}, "levelled": build_levelled(small_programs_of, layout, folder)}
    write_small_deployment(folder, layout.schema, small_booster, small_programs, engines)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, schema, small_booster, credit_data):
    """Return a folder as written by training.train."""
    folder = tmp_path_factory.mktemp("trained")
    (bits, y), _ = credit_data
    (folder / "schema.json").write_text(schema.model_dump_json())
    (folder / "booster.json").write_bytes(small_booster)
    own = {"booster_sha256": hashlib.sha256(small_booster).hexdigest()}
    (folder / "metrics.json").write_text(json.dumps(METRICS | own))
    np.savez_compressed(folder / "training_rows.npz", bits=np.packbits(bits, axis=1), y=y)
    return folder
