"""Replacing a deployment folder, without ever deleting anything else."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from engines.deployment import MANIFEST, Manifest
from utils.errors import FolderNotOurs
from utils.marked_folder import MARK, mark_folder, require_ours

PURPOSE = "deployment"
KEPT = ("frontier.json", "frontier.png", "metrics.json")
"""Files of the trained model that are copied into its deployment."""
CARD, BENCHMARK = "model_card.md", "benchmark.json"
MODEL_FILE, MODEL_FILE_PDF = "model_file.md", "model_file.pdf"
_BESIDE_THE_MANIFESTS = {MARK, MANIFEST, CARD, BENCHMARK, MODEL_FILE, MODEL_FILE_PDF, *KEPT}
_PREVIOUS = "previous"
_PUBLIC_FOLDER = 0o755


def require_replaceable(out: Path) -> None:
    """Raise FolderNotOurs unless `out` is absent, empty, or nothing but a deployment.

    A deployment of an earlier version, without the mark, is recognised by its manifest: all files
    listed there must exist.
    """
    require_ours(out, PURPOSE, setting="--out", made_earlier=_is_whole)
    foreign = _foreign(out)
    if foreign:
        raise FolderNotOurs(
            f"{out} contains {foreign[0][:80]}, which training.compile did not create and would "
            "delete with the old deployment. Move it, or choose another folder with --out."
        )


def mark_deployment(folder: Path) -> None:
    """Mark a new deployment; the mark is as readable as its other files."""
    mark_folder(folder, PURPOSE, mode=0o644)


def replace_deployment(new: Path, out: Path, scratch: Path) -> None:
    """Move `new` to `out`, with the mode of `out`; the old folder is moved into `scratch`.

    `scratch` must be a sibling of `out`. Raises FolderNotOurs.
    """
    require_replaceable(out)  # checked again, because compiling takes minutes
    new.chmod(out.stat().st_mode & 0o7777 if out.exists() else _PUBLIC_FOLDER)
    try:
        if out.exists():
            (scratch / _PREVIOUS).mkdir()
            out.rename(scratch / _PREVIOUS / out.name)
        new.rename(out)
    except BaseException:
        restore_previous(scratch)
        raise


def restore_previous(scratch: Path) -> None:
    """Restore a deployment that an interrupted replacement left in `scratch`."""
    if (scratch / _PREVIOUS).is_dir():
        for old in (scratch / _PREVIOUS).iterdir():
            if not (scratch.parent / old.name).exists():
                old.rename(scratch.parent / old.name)


def _is_whole(folder: Path) -> bool:
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return False
    return bool(manifest.files) and all((folder / name).is_file() for name in manifest.files)


def _foreign(folder: Path) -> list[str]:
    """Return, sorted, the files in the folder that do not belong to a deployment."""
    try:
        # Read without validation: the manifest may be of any version.
        named = set(json.loads((folder / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, LookupError, TypeError):
        named = set()
    files = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    names = sorted(p.relative_to(folder).as_posix() for p in files)
    return [name for name in names if name not in named | _BESIDE_THE_MANIFESTS]
