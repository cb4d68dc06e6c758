"""The deployment folder: complete and consistent, or refused with advice."""

import importlib
import json
import shutil

import pytest

from engines import deployment as module
from engines.deployment import Deployment, library_versions, write_manifest
from engines.interface import PROGRAMS
from engines.registry import load_party_engine, load_server_engine
from features.schema import Schema
from tests.conftest import write_small_deployment
from utils.errors import DeploymentMissing, DeploymentMixed, EngineUnavailable, ForeignMessage

ADVICE = "`make compile`"


@pytest.fixture
def folder(tmp_path, clear_deployment):
    """A copy of the small deployment that a test may damage."""
    return shutil.copytree(clear_deployment, tmp_path / "deployment")


def edit_manifest(folder, **fields):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder, kind):
    with pytest.raises(kind) as caught:
        Deployment.load(folder)
    assert ADVICE in caught.value.message
    return caught.value.message


def test_complete_folder_loads_as_written(clear_deployment, schema, small_programs):
    deployment = Deployment.load(clear_deployment)
    assert deployment.schema == schema
    assert set(deployment.programs) == set(PROGRAMS)
    for name, program in deployment.programs.items():
        assert program.to_json() == small_programs[name].to_json()
        facts = deployment.program_facts("clear")[name]
        assert facts.outputs == program.outputs
        assert (facts.score_bits, facts.scale) == (program.score_bits, program.scale)


def test_absent_and_empty_folders_raise_deployment_missing(tmp_path):
    assert "TRISEAL_DEPLOYMENT" in refused(tmp_path / "nowhere", DeploymentMissing)
    assert str(tmp_path) in refused(tmp_path, DeploymentMissing)
    (tmp_path / "file").touch()
    refused(tmp_path / "file", DeploymentMissing)


FILES = ["schema.json", "booster.json", "programs/decide.json", "programs/explain.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refused(folder, DeploymentMissing)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "longer"])
def test_a_partial_or_changed_file_is_named(folder, name, damage):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        {
            "cut": content[: len(content) // 2],
            "changed": content.replace(b"1", b"2", 1),
            "emptied": b"",
            "longer": content + b"\n",
        }[damage]
    )
    assert name in refused(folder, DeploymentMixed)


def test_files_of_two_compilations_are_refused(
    folder, tmp_path, schema, small_booster, small_programs
):
    other = tmp_path / "other"
    changed = small_booster.replace(b"5E-1", b"6E-1")
    assert changed != small_booster
    write_small_deployment(other, schema, changed, small_programs, {"clear": {}})
    assert Deployment.load(other).manifest.model_version
    shutil.copy(other / "booster.json", folder / "booster.json")
    assert "booster.json was not compiled together" in refused(folder, DeploymentMixed)


def test_programs_of_another_schema_are_refused(folder, schema):
    """Refused even if the manifest was written again for the mixed files."""
    other = Schema.parse(schema.model_dump(mode="json") | {"title": "Another"})
    (folder / "schema.json").write_text(other.model_dump_json())
    write_manifest(folder, {"clear": {}})
    assert "belongs to another schema" in refused(folder, DeploymentMixed)


def test_a_manifest_for_another_schema_is_refused(folder):
    edit_manifest(folder, schema_fingerprint="0" * 64)
    assert "schema" in refused(folder, DeploymentMixed)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', "\xff", "[" * 100_000, "null"]
)
def test_an_unreadable_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json cannot be read" in refused(folder, DeploymentMixed)


def test_another_format_and_unknown_fields_are_refused(folder):
    edit_manifest(folder, format=2)
    assert "format 2, this version reads 1" in refused(folder, DeploymentMixed)
    edit_manifest(folder, format=1, colour="red")
    assert "cannot be read by this version" in refused(folder, DeploymentMixed)


def test_model_version_is_independent_of_the_folder(
    folder, tmp_path, schema, small_booster, small_programs
):
    first = Deployment.load(folder).manifest
    again = write_manifest(folder, {"clear": {}})
    elsewhere = write_small_deployment(
        tmp_path / "elsewhere", schema, small_booster, small_programs, {"clear": {}}
    )
    assert first == again == elsewhere
    assert len(first.model_version) == 32


def test_model_version_depends_on_facts_but_not_on_binaries(folder):
    (folder / "clear").mkdir()
    (folder / "clear" / "server.zip").write_bytes(b"compiled here")
    one = write_manifest(folder, {"clear": {}})
    assert "clear/server.zip" in one.files
    (folder / "clear" / "server.zip").write_bytes(b"compiled there")
    other = write_manifest(folder, {"clear": {}})
    assert one.model_version == other.model_version
    assert one.files != other.files
    assert Deployment.load(folder).manifest == other
    assert write_manifest(folder, {"clear": {"p": 1}}).model_version != one.model_version


@pytest.mark.parametrize("name", FILES)
def test_any_change_of_the_model_changes_its_version(folder, name):
    before = write_manifest(folder, {"clear": {}})
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert write_manifest(folder, {"clear": {}}).model_version != before.model_version


def test_a_compiled_file_that_was_replaced_is_refused(folder):
    (folder / "clear").mkdir()
    (folder / "clear" / "server.zip").write_bytes(b"compiled here")
    write_manifest(folder, {"clear": {}})
    (folder / "clear" / "server.zip").write_bytes(b"compiled there")
    assert "clear/server.zip was not compiled together" in refused(folder, DeploymentMixed)
    (folder / "clear" / "server.zip").unlink()
    refused(folder, DeploymentMissing)


def test_library_version_mismatch_error_names_both_versions(folder, monkeypatch):
    deployment = Deployment.load(folder)
    versions = library_versions()
    assert deployment.manifest.versions == versions
    deployment.check_library("numpy")
    monkeypatch.setattr(module.metadata, "version", lambda _: "9.9")
    with pytest.raises(DeploymentMixed, match=f"numpy {versions['numpy']}, but 9.9") as caught:
        deployment.check_library("numpy")
    assert "make setup" in caught.value.message
    with pytest.raises(DeploymentMixed, match="left-pad None"):
        deployment.check_library("left-pad")


def test_missing_library_is_reported_as_none(monkeypatch):
    monkeypatch.setattr(module, "_LIBRARIES", ("no-such-library",))
    assert library_versions()["no-such-library"] == "none"


def test_either_distribution_of_xgboost_counts(monkeypatch):
    assert library_versions()["xgboost"] == importlib.import_module("xgboost").__version__
    installed = {}

    def version(name):
        if name in installed:
            return installed[name]
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", version)
    assert library_versions()["xgboost"] == "none"
    installed["xgboost-cpu"] = "3.2.0"
    assert library_versions()["xgboost"] == "3.2.0"
    installed["xgboost"] = "1.6.2"
    assert library_versions()["xgboost"] == "1.6.2"


def test_uncompiled_engine_error_names_the_compiled_ones(folder):
    deployment = Deployment.load(folder)
    assert deployment.engine_facts("clear") == {}
    with pytest.raises(DeploymentMissing, match=r"not compiled for engine concrete.*has: clear"):
        deployment.engine_facts("concrete")
    with pytest.raises(DeploymentMissing, match="not compiled for engine concrete"):
        load_server_engine("concrete", folder)


def test_unknown_engines_and_foreign_client_files_are_refused(folder):
    with pytest.raises(EngineUnavailable, match=r"no engine 'quantum'; TRISEAL_ENGINE is one of"):
        load_server_engine("quantum", folder)
    server = load_server_engine("clear", folder)
    assert load_party_engine(server.public, server.client_files()).facts.name == "clear"
    with pytest.raises(ForeignMessage, match="do not belong to this model"):
        load_party_engine(server.public, server.client_files() + b"x")
