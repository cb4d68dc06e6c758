"""The pinned lists satisfy pyproject.toml, name no package index, and have hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = DOCUMENT["project"]
LISTS = sorted((ROOT / "requirements").glob("*.txt"))
EXTRAS = {
    "core": [],
    "server": ["s3", "postgresql"],
    "training": ["training"],
    "test": ["training", "cluster", "s3", "postgresql", "test"],
    "concrete": ["concrete", "cluster", "s3", "postgresql", "test"],
    "fuzz": ["training", "test", "fuzz"],
}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path):
    """Return the versions of each package in a list."""
    found = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)",
                                    path.read_text(), flags=re.MULTILINE):  # fmt: skip
        found.setdefault(plain(name), []).append(version)
    return found


def asked(extras):
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("name", EXTRAS)
def test_pinned_versions_satisfy_every_dependency(name):
    versions = pinned(ROOT / "requirements" / f"{name}.txt")
    for requirement in asked(EXTRAS[name]):
        found = versions.get(plain(requirement.name), [])
        assert found and all(requirement.specifier.contains(v) for v in found), requirement


def test_flowers_pinned_versions_satisfy_its_group():
    """Flower's environment has only what its app imports, without the project's dependencies."""
    versions = pinned(ROOT / "requirements" / "flower.txt")
    for requirement in map(Requirement, DOCUMENT["dependency-groups"]["flower"]):
        found = versions.get(plain(requirement.name), [])
        assert found and all(requirement.specifier.contains(v) for v in found), requirement


def test_requirements_txt_contains_everything_for_pip():
    versions = pinned(ROOT / "requirements.txt")
    assert versions == pinned(ROOT / "requirements" / "concrete.txt")
    for requirement in asked(EXTRAS["concrete"]):
        assert plain(requirement.name) in versions, requirement


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_has_hashes_and_no_index_is_named(path):
    text = path.read_text()
    packages = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert packages and all("--hash=sha256:" in package for package in packages)
    assert not re.search(r"https?://|--index|--extra-index|--find-links", text)
