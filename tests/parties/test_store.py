"""The parties' own files: private, atomic, and never outside their folder."""

import os
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.expiry import erase_expired
from parties.store import RECORD, SECRET_KEY, TOKEN, PartyStore
from utils.errors import FolderNotOurs, InvalidRequest, UnknownApplication, UnknownParty
from utils.marked_folder import MARK

ONE, TWO = "0" * 32, "1" * 32


@pytest.fixture
def store(tmp_path):
    return PartyStore(tmp_path / "parties")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_for_their_owner_only(store):
    old = os.umask(0)
    try:
        store.write(ONE, "bank", SECRET_KEY, b"k")
    finally:
        os.umask(old)
    folder = store.folder(ONE, "bank")
    assert store.read(ONE, "bank", SECRET_KEY) == b"k"
    assert mode(folder / SECRET_KEY) == 0o600
    assert [mode(p) for p in (folder, folder.parent, store.root)] == [0o700] * 3
    assert [p.name for p in folder.iterdir()] == [SECRET_KEY]


@given(st.text(max_size=40))
def test_invalid_names_cannot_escape_the_folder(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    store = PartyStore(root)
    for arguments in ((text, "bank", TOKEN), (ONE, text, TOKEN), (ONE, "bank", text)):
        try:
            path = store.path(*arguments)
        except (InvalidRequest, UnknownParty):
            continue
        assert path.resolve().is_relative_to(root.resolve())
        assert len(path.relative_to(root).parts) == 3


@pytest.mark.parametrize("client_id", ["", "..", "../x", "a" * 31, "A" * 32, "0" * 32 + "\n"])
def test_an_invalid_client_id_is_refused(store, client_id):
    with pytest.raises(InvalidRequest):
        store.folder(client_id, "bank")


@pytest.mark.parametrize("party", ["", "..", "Bank", "a/b", "1bank", "bank\n", "a" * 33])
def test_an_invalid_party_name_is_refused(store, party):
    with pytest.raises(UnknownParty):
        store.folder(ONE, party)


def test_parties_lists_those_with_a_token(store):
    with pytest.raises(UnknownApplication):
        store.parties(ONE)
    store.write(ONE, "bank", TOKEN, b"t")
    store.write(ONE, "applicant", TOKEN, b"t")
    store.write(ONE, "other", RECORD, b"{}")
    assert store.parties(ONE) == ["applicant", "bank"]


def test_hand_over_copies_a_file_to_other_parties(store):
    store.write(ONE, "applicant", SECRET_KEY, b"key")
    store.hand_over(ONE, SECRET_KEY, "applicant", ["applicant", "bank"])
    assert store.read(ONE, "bank", SECRET_KEY) == b"key"


def test_carry_over_copies_existing_files(store):
    store.write(ONE, "bank", SECRET_KEY, b"key")
    store.carry_over(ONE, TWO, "bank", [SECRET_KEY, RECORD])
    assert store.read(TWO, "bank", SECRET_KEY) == b"key"
    assert store.read(TWO, "bank", RECORD) is None


def test_erase_removes_one_application(store):
    for client_id in (ONE, TWO):
        store.write(client_id, "bank", TOKEN, b"t")
    store.erase(ONE)
    assert {p.name for p in store.root.iterdir()} == {MARK, TWO}


def test_one_partys_files_are_removed_without_the_others(store):
    for party in ("bank", "applicant"):
        store.write(ONE, party, TOKEN, b"t")
    store.erase_party(ONE, "bank")
    assert store.parties(ONE) == ["applicant"]
    store.erase_party(ONE, "applicant")
    store.erase_party(ONE, "applicant")
    assert [p.name for p in store.root.iterdir()] == [MARK]


def test_applications_of_a_party_are_listed_newest_first(store):
    assert store.applications("bank") == []
    for age, client_id in enumerate((ONE, TWO)):
        store.write(client_id, "bank", TOKEN, b"t")
        moment = time.time() - 100 * age
        os.utime(store.root / client_id, (moment, moment))
    store.write("2" * 32, "applicant", TOKEN, b"t")
    store.write(TWO, "bank", TOKEN, b"renewed")  # a renewal does not count as joining
    assert store.applications("bank") == [ONE, TWO]


def snapshot(root):
    return {path: (mode(path), path.is_file() and path.read_bytes()) for path in root.rglob("*")}


def use(store):
    store.write(TWO, "bank", TOKEN, b"t")


def expire(store):
    erase_expired(store, hours=2)


@pytest.mark.parametrize("act", [use, expire])
@pytest.mark.parametrize("files", [[f"{ONE}/cache/entry"], ["notes.txt"], ["bank/notes.txt"]])
def test_foreign_folder_is_refused_unchanged(tmp_path, act, files):
    """Caches have folders of 32 hexadecimal digits as well."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755)
        os.utime(path, (0, 0))
    before = snapshot(tmp_path)
    with pytest.raises(FolderNotOurs, match="--home"):
        act(PartyStore(tmp_path))
    assert snapshot(tmp_path) == before
    assert mode(tmp_path) == 0o755


def test_same_folder_with_the_mark_is_deleted(tmp_path):
    """Control: with the mark, the same folder is treated as an expired application."""
    store = PartyStore(tmp_path)
    store.claim()
    (tmp_path / ONE / "cache").mkdir(parents=True)
    os.utime(tmp_path / ONE, (0, 0))
    expire(store)
    assert not (tmp_path / ONE).exists()


def test_folder_that_contains_only_agents_folders_is_accepted(tmp_path):
    for party in ("applicant", "bank"):
        use(PartyStore(tmp_path / party))
    assert not (tmp_path / MARK).exists()
    use(PartyStore(tmp_path))
    assert (tmp_path / MARK).is_file()


def test_folder_without_its_mark_is_refused(tmp_path):
    use(PartyStore(tmp_path))
    (tmp_path / MARK).unlink()
    with pytest.raises(FolderNotOurs, match="--home"):
        use(PartyStore(tmp_path))
