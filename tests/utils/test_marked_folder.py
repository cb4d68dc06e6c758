"""Only folders with Triseal's marker are emptied; all others are refused unchanged."""

import stat

import pytest

from utils.errors import FolderNotOurs
from utils.marked_folder import MARK, claim_folder, is_marked, mark_folder, require_ours

PURPOSE = "server data"


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def content(path):
    return {
        p.relative_to(path): (mode_of(p), p.read_bytes() if p.is_file() else None)
        for p in [path, *path.rglob("*")]
    }


def test_a_new_folder_is_made_private_and_marked(tmp_path):
    folder = claim_folder(tmp_path / "a" / "b", PURPOSE)
    assert folder == tmp_path / "a" / "b"
    assert mode_of(folder) == 0o700
    assert [p.name for p in folder.iterdir()] == [MARK]
    assert is_marked(folder, PURPOSE)
    assert not is_marked(folder, "deployment")


def test_an_empty_folder_is_accepted_and_marked(tmp_path):
    (tmp_path / "lost+found").mkdir()  # a new ext4 volume
    claim_folder(tmp_path, PURPOSE)
    assert is_marked(tmp_path, PURPOSE)
    assert mode_of(tmp_path) == 0o700


def test_marked_folder_is_accepted_with_its_content(tmp_path):
    claim_folder(tmp_path, PURPOSE)
    (tmp_path / "file").write_text("kept")
    claim_folder(tmp_path, PURPOSE)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["file", ".hidden", "folder/"])
def test_a_folder_with_anything_else_in_it_is_refused_unchanged(tmp_path, name):
    tmp_path.chmod(0o755)
    if name.endswith("/"):
        (tmp_path / name).mkdir(mode=0o755)
    else:
        (tmp_path / name).write_text("mine")
    before = content(tmp_path)
    with pytest.raises(FolderNotOurs, match=name.strip("/")) as refused:
        claim_folder(tmp_path, PURPOSE, setting="TRISEAL_SERVER_DATA")
    assert content(tmp_path) == before
    assert "Set TRISEAL_SERVER_DATA to an empty folder" in refused.value.message


def test_a_folder_marked_for_another_purpose_is_refused(tmp_path):
    claim_folder(tmp_path, "deployment")
    before = content(tmp_path)
    with pytest.raises(FolderNotOurs, match="Triseal's folder for deployment, not server data"):
        claim_folder(tmp_path, PURPOSE)
    assert content(tmp_path) == before


@pytest.mark.parametrize("text", ["", "server data", "server data\n", "server data\nmine\n"])
def test_file_named_like_the_mark_is_not_a_mark(tmp_path, text):
    (tmp_path / MARK).write_text(text)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderNotOurs):
        claim_folder(tmp_path, PURPOSE)


def test_link_to_another_folders_mark_is_not_a_mark(tmp_path):
    ours, theirs = claim_folder(tmp_path / "ours", PURPOSE), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("mine")
    (theirs / MARK).symlink_to(ours / MARK)
    with pytest.raises(FolderNotOurs):
        claim_folder(theirs, PURPOSE)


def test_incomplete_mark_does_not_block_the_folder(tmp_path):
    (tmp_path / f".{MARK}.x8d_3kq").write_text("")
    claim_folder(tmp_path, PURPOSE)
    assert is_marked(tmp_path, PURPOSE)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderNotOurs, match="not a folder"):
        claim_folder(tmp_path / "file", PURPOSE)


def test_recognised_folder_of_an_earlier_version_is_accepted(tmp_path):
    (tmp_path / "ours").write_text("")
    with pytest.raises(FolderNotOurs):
        claim_folder(tmp_path, PURPOSE, made_earlier=lambda folder: False)
    claim_folder(tmp_path, PURPOSE, made_earlier=lambda folder: (folder / "ours").is_file())
    assert is_marked(tmp_path, PURPOSE)


def test_checking_changes_nothing(tmp_path):
    require_ours(tmp_path / "absent", PURPOSE)
    assert not (tmp_path / "absent").exists()
    require_ours(tmp_path, PURPOSE)
    assert list(tmp_path.iterdir()) == []


def test_new_folder_can_be_marked_with_its_content(tmp_path):
    (tmp_path / "manifest").write_text("")
    mark_folder(tmp_path, "deployment")
    require_ours(tmp_path, "deployment")


def test_mark_is_as_readable_as_its_folder(tmp_path):
    claim_folder(tmp_path / "private", PURPOSE)
    claim_folder(tmp_path / "public", PURPOSE, mode=0o755)
    assert mode_of(tmp_path / "private" / MARK) == 0o600
    assert mode_of(tmp_path / "public" / MARK) == 0o644
