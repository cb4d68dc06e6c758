"""Compiled deployments in pytest's cache: written again once they or their sources change."""

import shutil

import pytest

from engines.deployment import Deployment
from tests.concrete import compiled as compiled_deployments
from tests.concrete.compiled import Compiled


@pytest.fixture
def written():
    return []


@pytest.fixture
def write(clear_deployment, written):
    """Return a function that writes a deployment below its folder and notes that it did."""

    def write(folder):
        written.append(folder)
        return shutil.copytree(clear_deployment, folder / "deployment")

    return write


def test_deployment_is_written_once(tmp_path, write, written):
    one, other = (Compiled(tmp_path).deployment("small", write) for _ in range(2))
    assert one == other
    assert len(written) == 1
    Compiled(tmp_path).deployment("other", write)
    assert len(written) == 2


@pytest.mark.parametrize("damage", ["changed", "removed", "unfinished"])
def test_damaged_deployment_is_written_again(tmp_path, write, written, damage):
    found = Compiled(tmp_path).deployment("small", write)
    if damage == "changed":
        (found / "booster.json").write_bytes(b"{}")
    elif damage == "removed":
        shutil.rmtree(found)
    else:
        next(tmp_path.glob("*/small.done")).unlink()
    assert Deployment.load(Compiled(tmp_path).deployment("small", write))
    assert len(written) == 2


def test_changed_sources_have_their_own_deployments(tmp_path, write, written, monkeypatch):
    one = Compiled(tmp_path).deployment("small", write)
    monkeypatch.setattr(compiled_deployments, "digest_of_sources", lambda: "other")
    other = Compiled(tmp_path).deployment("small", write)
    assert one != other and len(written) == 2
    assert Deployment.load(one), "another run may use it"
    monkeypatch.setattr(compiled_deployments, "KEPT_SECONDS", -1)
    Compiled(tmp_path).deployment("small", write)
    assert not one.exists()
