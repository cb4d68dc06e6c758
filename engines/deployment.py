"""The deployment folder: written by training.compile, and read to build every engine.

    manifest.json         format, model version, library versions, digest of every file
    schema.json           the public schema
    booster.json          the trained model, in XGBoost's own JSON format (the server's secret)
    programs/*.json       the programs decide and explain, and reasons where it is stated
    concrete/, …          compiled files of one engine, each in its own folder
    levelled/programs/…   programs of an engine that does not use the common ones
    model_card.md, …      documentation; not needed to run

`Deployment.load` checks that all files belong together, so that a mixed or incomplete folder is
rejected before it is used.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.interface import PROGRAMS, REASONS, ProgramFacts
from features.encoding import Layout
from features.schema import Schema
from model.program import Program
from utils.atomic_files import write_atomic
from utils.errors import DeploymentMissing, DeploymentMixed, TrisealError

MANIFEST = "manifest.json"
FORMAT = 1
_PUBLIC_FILE = 0o644
_LIBRARIES = ("concrete-python", "concrete-ml", "xgboost", "numpy")
_OTHER_DISTRIBUTIONS = {"xgboost": ("xgboost-cpu",)}
"""Other distributions of a library, of which one may be installed in its place."""


class Manifest(BaseModel):
    """The manifest: `files` maps paths to SHA-256 digests, `engines` names to recorded facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    model_version: str
    schema_fingerprint: str
    versions: dict[str, str]
    engines: dict[str, dict[str, Any]]
    files: dict[str, str]


@dataclass(frozen=True)
class Deployment:
    """A checked deployment folder.

    All engines share `programs`, except those with programs of their own in `own_programs`.
    """

    folder: Path
    manifest: Manifest
    layout: Layout
    programs: dict[str, Program]
    own_programs: dict[str, dict[str, Program]] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        return self.layout.schema

    @classmethod
    def load(cls, folder: Path) -> Deployment:
        """Read and check a folder; raises DeploymentMissing, DeploymentMixed."""
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except OSError as error:
            raise DeploymentMissing(
                f"There is no deployment in {folder}; run `make compile`, or set "
                "TRISEAL_DEPLOYMENT to a folder that has one."
            ) from error
        except ValidationError as error:
            raise DeploymentMixed(
                f"{folder / MANIFEST} cannot be read by this version; run `make compile` again."
            ) from error
        if manifest.format != FORMAT:
            raise DeploymentMixed(
                f"The deployment has format {manifest.format}, this version reads {FORMAT}; run "
                "`make compile` again."
            )
        for name, digest in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise DeploymentMissing(f"{path} is missing; run `make compile` again.")
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise DeploymentMixed(
                    f"{path} was not compiled together with the other files; run `make compile` "
                    "again."
                )
        try:
            layout = Layout(Schema.load(folder / "schema.json"))
            programs = _load_programs(folder, "", manifest, layout)
            own_programs = {
                engine: _load_programs(folder, f"{engine}/", manifest, layout)
                for engine in manifest.engines
                if f"{engine}/{program_file(PROGRAMS[0])}" in manifest.files
            }
        except TrisealError as error:
            raise DeploymentMixed(
                f"The deployment in {folder} is invalid: {error.message}"
            ) from error
        if layout.schema.fingerprint() != manifest.schema_fingerprint:
            raise DeploymentMixed(
                f"The schema in {folder} is not the one that was compiled; run `make compile` "
                "again."
            )
        return cls(folder, manifest, layout, programs, own_programs)

    def engine_facts(self, engine: str) -> dict[str, Any]:
        """Return the facts that an engine recorded at compilation; raises DeploymentMissing."""
        if engine not in self.manifest.engines:
            have = ", ".join(sorted(self.manifest.engines)) or "none"
            raise DeploymentMissing(
                f"This deployment was not compiled for engine {engine} (it has: {have}); run "
                f"`make compile`, or set TRISEAL_ENGINE to one that it has."
            )
        return self.manifest.engines[engine]

    def programs_of(self, engine: str) -> dict[str, Program]:
        """Return the programs that an engine runs: its own if it has any, else the common ones."""
        return self.own_programs.get(engine, self.programs)

    def program_facts(self, engine: str) -> dict[str, ProgramFacts]:
        """Return the public facts of each program of an engine."""
        return public_facts(self.programs_of(engine))

    def check_library(self, library: str) -> None:
        """Raise DeploymentMixed unless the installed version compiled this deployment."""
        compiled, here = self.manifest.versions.get(library), _version(library)
        if compiled != here:
            raise DeploymentMixed(
                f"The deployment was compiled with {library} {compiled}, but {here} is installed; "
                "run `make setup` for the pinned version, or `make compile` for this one."
            )


def public_facts(programs: Mapping[str, Program]) -> dict[str, ProgramFacts]:
    """Return the public facts of each program."""
    return {
        name: ProgramFacts(
            outputs=program.outputs, score_bits=program.score_bits, scale=program.scale
        )
        for name, program in programs.items()
    }


def program_file(name: str) -> str:
    """Return a program's path, relative to the deployment's folder or an engine's."""
    return f"programs/{name}.json"


def _load_programs(
    folder: Path, own: str, manifest: Manifest, layout: Layout
) -> dict[str, Program]:
    """Return the common programs, or those of the engine's folder `own`.

    All deployments have decide and explain; of reasons, only the manifest tells.
    """
    files = {name: own + program_file(name) for name in PROGRAMS}
    return {
        name: Program.load(folder / file, layout)
        for name, file in files.items()
        if name != REASONS or file in manifest.files
    }


def write_programs(folder: Path, programs: Mapping[str, Program]) -> None:
    """Write programs where `Deployment.load` looks for them."""
    for name, program in programs.items():
        write_public(folder / program_file(name), program.to_json().encode())


def _version(library: str) -> str:
    """Return the version of the library's distribution that is installed, or "none"."""
    for distribution in (library, *_OTHER_DISTRIBUTIONS.get(library, ())):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "none"


def library_versions() -> dict[str, str]:
    """Return the library versions on which a compilation depends, and the kind of machine."""
    return {
        **{library: _version(library) for library in _LIBRARIES},
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def write_manifest(folder: Path, engines: dict[str, dict[str, Any]]) -> Manifest:
    """Compute the digest of every file that the engines need, and write the manifest last.

    The model version depends on the schema, the booster, the programs and the engines' facts, but
    not on the compiled binaries, so compiling the same model again gives the same version.
    """
    names = ["schema.json", "booster.json", *(program_file(name) for name in PROGRAMS)]
    if not (folder / program_file(REASONS)).is_file():
        names.remove(program_file(REASONS))
    own_programs = [f"{e}/{program_file(name)}" for e in sorted(engines) for name in PROGRAMS]
    own_programs = [name for name in own_programs if (folder / name).is_file()]
    identity = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names + own_programs
    ]
    identity.append(json.dumps(engines, sort_keys=True))
    for engine in engines:
        own = sorted(p for p in (folder / engine).rglob("*") if p.is_file())
        names += [p.relative_to(folder).as_posix() for p in own]
    manifest = Manifest(
        format=FORMAT,
        model_version=hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32],
        schema_fingerprint=Schema.load(folder / "schema.json").fingerprint(),
        versions=library_versions(),
        engines=engines,
        files={n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names},
    )
    text = manifest.model_dump_json(indent=2) + "\n"
    write_atomic(folder / MANIFEST, text.encode(), mode=_PUBLIC_FILE)
    return manifest


def write_public(path: Path, data: bytes) -> None:
    """Write one file of a deployment, readable by all users; its folder is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, mode=_PUBLIC_FILE)
