"""A marker file in every folder whose content Triseal replaces or deletes.

A setting or option may name the wrong folder by mistake. A folder and its mode are changed only if
it was empty when it was claimed, or has a marker for the same purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from utils.atomic_files import PRIVATE_FILE, PRIVATE_FOLDER, write_atomic
from utils.errors import FolderNotOurs

MARK = ".triseal-folder"
_EXPLANATION = "Triseal replaces and deletes what is in this folder. Keep nothing else here."
_UNFINISHED_MARK = f".{MARK}."  # the names of write_atomic's temporary files
_IGNORED = frozenset({MARK, "lost+found"})  # the latter is in every new ext4 file system


def claim_folder(
    path: Path,
    purpose: str,
    *,
    setting: str = "",
    made_earlier: Callable[[Path], bool] | None = None,
    mode: int = PRIVATE_FOLDER,
) -> Path:
    """Create and mark the folder, or accept one that is empty or marked; return its path.

    `purpose` is one line: for example, `server data`. `setting` is the option or variable that
    named the folder, for the error message. `made_earlier` recognises a folder without a mark by
    its content; it must not accept a folder made by another program. Raises FolderNotOurs, before
    anything is changed, and OSError.
    """
    require_ours(path, purpose, setting=setting, made_earlier=made_earlier)
    path.mkdir(parents=True, exist_ok=True, mode=mode)
    path.chmod(mode)
    if not is_marked(path, purpose):
        mark_folder(path, purpose, mode & 0o666)
    return path


def require_ours(
    path: Path,
    purpose: str,
    *,
    setting: str = "",
    made_earlier: Callable[[Path], bool] | None = None,
) -> None:
    """Raise FolderNotOurs if `claim_folder` would reject this folder; nothing is changed."""
    advice = f"Set {setting} to" if setting else "Give"
    advice += " an empty folder, or one that does not exist yet."
    if path.exists() and not path.is_dir():
        raise FolderNotOurs(f"{path} is not a folder. {advice}")
    marked_as = _purpose_of(path)
    if marked_as == purpose:
        return
    if marked_as is not None:
        raise FolderNotOurs(f"{path} is Triseal's folder for {marked_as}, not {purpose}. {advice}")
    foreign = _content(path)
    if not foreign or (made_earlier is not None and made_earlier(path)):
        return
    if is_marked(path, purpose):  # another process has claimed it since
        return
    raise FolderNotOurs(
        f"{path} contains files that Triseal may not have created, for example "
        f"{foreign[0][:60]}; nothing in it was changed. {advice}"
    )


def is_marked(path: Path, purpose: str) -> bool:
    """Return True if the folder has the marker for this purpose."""
    return _purpose_of(path) == purpose


def mark_folder(path: Path, purpose: str, mode: int = PRIVATE_FILE) -> None:
    """Mark a folder that the caller has just made, whatever it contains, by a file of `mode`."""
    write_atomic(path / MARK, f"{purpose}\n{_EXPLANATION}\n".encode(), mode=mode)


def _purpose_of(path: Path) -> str | None:
    """Return the purpose in the folder's marker, or None if there is no valid one."""
    mark = path / MARK
    if mark.is_symlink() or not mark.is_file():
        return None
    with mark.open("rb") as file:  # bounded, since any program may have written the file
        lines = file.read(1000).decode("utf-8", "replace").splitlines()
    return lines[0] if lines[1:] == [_EXPLANATION] else None


def _content(path: Path) -> list[str]:
    """Return the sorted names in the folder, without the marker itself."""
    if not path.exists():
        return []
    names = sorted(entry.name for entry in path.iterdir())
    return [n for n in names if n not in _IGNORED and not n.startswith(_UNFINISHED_MARK)]
