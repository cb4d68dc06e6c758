"""Altered, swapped, cut and older files of the store are errors, and nothing is in the clear."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import data_store, store_key
from governance.data_store import DataStore
from governance.datasets import DataSet, make_data_set, read_data_set
from governance.store_key import key_file, make_key_file, passphrase
from settings import ROOT
from utils.errors import (
    DataFolderInUse,
    DataSetInvalid,
    FolderNotOurs,
    StoreDamaged,
    StoreLocked,
    UnknownDataSet,
)
from utils.marked_folder import MARK

ROWS = "name,income\nAda Confidential,41000\nBob Confidential,52000\nCyd Confidential,63000\n"
SMALL = 14  # the logarithm of the least N of scrypt, to save time


def data(text: str = ROWS, tag: str = "bank", words: str = "Income of my customers") -> DataSet:
    return read_data_set(text.encode(), tag, words)


@pytest.fixture
def secret(tmp_path):
    make_key_file(tmp_path / "key")
    return key_file(tmp_path / "key")


@pytest.fixture
def folder(tmp_path, secret) -> Path:
    with DataStore.create(tmp_path / "store", secret) as store:
        store.store(data())
        store.store(data("a\nx\ny\n", "other", "Something else"))
    return tmp_path / "store"


def only(folder: Path, secret, tag: str = "bank") -> str:
    with DataStore.open(folder, secret) as store:
        return store.search(tag=tag)[0].id


def read_all(folder: Path, secret) -> list[DataSet]:
    with DataStore.open(folder, secret) as store:
        return [store.data_set(each.id) for each in store.list()]


def records(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"{name}-*.records")
    return path


def divided(sealed: bytes) -> tuple[bytes, list[bytes]]:
    """Return the head of a file of rows, and the sealed rows with their lengths."""
    head, rest, parts = sealed[:40], sealed[40:], []
    while rest:
        end = 4 + int.from_bytes(rest[:4], "big")
        parts.append(rest[:end])
        rest = rest[end:]
    return head, parts


def test_what_is_stored_is_read_back_and_nothing_is_in_the_clear(folder, secret) -> None:
    found = read_all(folder, secret)
    assert found == [data(), data("a\nx\ny\n", "other", "Something else")]
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in (b"Confidential", b"41000", b"income", b"customers"):
            assert word not in content
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                "i": st.integers(-(10**15), 10**15),
                "n": st.none() | st.floats(-1e15, 1e15),
                "b": st.booleans(),
            }
        ),
        max_size=6,
    )
)
@settings(deadline=None, max_examples=15)
def test_rows_of_all_types_round_trip(tmp_path_factory, rows) -> None:
    base = tmp_path_factory.mktemp("store")
    made = make_data_set(
        "t", "w", {"t": "text", "i": "integer", "n": "number", "b": "boolean"}, rows
    )
    make_key_file(base / "key")
    with DataStore.create(base / "store", key_file(base / "key")) as store:
        name = store.store(made)
        assert store.data_set(name) == made


def test_every_flipped_byte_is_found(folder, secret) -> None:
    source = random.Random(17)
    expected = read_all(folder, secret)
    flips = 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        content = path.read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= source.randrange(1, 256)
            path.write_bytes(changed)
            with pytest.raises(StoreDamaged):
                read_all(folder, secret)
            flips += 1
        path.write_bytes(content)
    assert flips > 1000 and read_all(folder, secret) == expected


def test_every_cut_and_every_added_byte_is_found(folder, secret) -> None:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        content = path.read_bytes()
        for end in range(0, len(content), 7):
            path.write_bytes(content[:end])
            with pytest.raises(StoreDamaged):
                read_all(folder, secret)
        path.write_bytes(content + b"\0")
        with pytest.raises(StoreDamaged):
            read_all(folder, secret)
        path.write_bytes(content)


def weaken(monkeypatch, without: set[str]) -> None:
    """Take away defences of a row's place: digest of the file, associated data, nonce."""
    if "digest" in without:
        monkeypatch.setattr(data_store.hmac, "compare_digest", lambda one, other: True)
    if "associated data" in without:
        monkeypatch.setattr(data_store, "_bound", lambda *parts: b"")
    if "nonce" in without:
        monkeypatch.setattr(data_store, "_nonce", lambda position: bytes(12))


DEFENCES = ("digest", "associated data", "nonce")


@pytest.mark.parametrize("alone", DEFENCES)
def test_rows_cannot_be_swapped_or_repeated(tmp_path, secret, monkeypatch, alone) -> None:
    """Each of three defences finds it without the other two."""
    weaken(monkeypatch, {*DEFENCES} - {alone})
    with DataStore.create(tmp_path / "weak", secret) as store:
        name = store.store(data())
        path = records(tmp_path / "weak", name)
        head, (one, two, three) = divided(path.read_bytes())
        for parts in ((two, one, three), (one, two, two), (one, three, two)):
            path.write_bytes(head + b"".join(parts))
            with pytest.raises(StoreDamaged, match="swapped"):
                store.rows(name)
        path.write_bytes(head + one + two + three)
        assert store.rows(name) == data().rows


def test_without_the_three_defences_swapped_rows_would_pass(tmp_path, secret, monkeypatch) -> None:
    """The control of the test above."""
    weaken(monkeypatch, {*DEFENCES})
    with DataStore.create(tmp_path / "weak", secret) as store:
        name = store.store(data())
        path = records(tmp_path / "weak", name)
        head, (one, two, three) = divided(path.read_bytes())
        path.write_bytes(head + two + one + three)
        assert [row["income"] for row in store.rows(name)] == [52000, 41000, 63000]


@pytest.mark.parametrize("digest_is_checked", [True, False])
def test_rows_cannot_be_left_out_or_added(folder, secret, monkeypatch, digest_is_checked) -> None:
    weaken(monkeypatch, set() if digest_is_checked else {"digest"})
    path = records(folder, only(folder, secret))
    head, (one, two, three) = divided(path.read_bytes())
    for parts in ((one, three), (one, two), (two, three), (one, two, three, three), ()):
        path.write_bytes(head + b"".join(parts))
        with pytest.raises(StoreDamaged, match="cut"):
            read_all(folder, secret)


def test_equal_rows_are_not_equal_on_disk(tmp_path, secret) -> None:
    """A repeated nonce would show which rows are equal, and the difference of all others."""
    with DataStore.create(tmp_path / "s", secret) as store:
        name = store.store(data("a\nlong enough\nlong enough\n"))
        _, parts = divided(records(tmp_path / "s", name).read_bytes())
        store.replace(name, data("a\nlong enough\nlong enough\n"))
        _, again = divided(records(tmp_path / "s", name).read_bytes())
    bodies = [part[4:-16] for part in (*parts, *again)]
    assert len(set(bodies)) == 4


def test_rows_of_a_change_that_was_not_finished_are_found(folder, secret, monkeypatch) -> None:
    """They have the version of the change that succeeded later; the digest tells them apart."""
    name = only(folder, secret)
    real = data_store.write_atomic

    def fails(path, content, *mode):
        if path.name == "manifest":
            raise OSError(28, "No space left on device")
        real(path, content, *mode)

    with DataStore.open(folder, secret) as store:
        monkeypatch.setattr(data_store, "write_atomic", fails)
        with pytest.raises(OSError, match="space"):
            store.replace(name, data(ROWS.replace("41000", "42000")))
        monkeypatch.setattr(data_store, "write_atomic", real)
        unfinished = (folder / f"{name}-2.records").read_bytes()
        store.replace(name, data(ROWS.replace("41000", "43000")))
        (folder / f"{name}-2.records").write_bytes(unfinished)
        with pytest.raises(StoreDamaged):
            store.rows(name)
        # The control: without the digest they would be read.
        weaken(monkeypatch, {"digest"})
        assert store.rows(name)[0]["income"] == 42000


@pytest.mark.parametrize("digest_is_checked", [True, False])
def test_older_version_and_file_of_another_data_set_are_found(
    folder, secret, monkeypatch, digest_is_checked
) -> None:
    weaken(monkeypatch, set() if digest_is_checked else {"digest"})
    name = only(folder, secret)
    older = records(folder, name).read_bytes()
    with DataStore.open(folder, secret) as store:
        assert store.replace(name, data(ROWS.replace("41000", "42000"))) == 2
        other = store.store(data())
        path = records(folder, name)
        newer = path.read_bytes()
        for wrong in (older, records(folder, other).read_bytes()):
            path.write_bytes(wrong)
            with pytest.raises(StoreDamaged, match="older"):
                store.rows(name)
        path.write_bytes(newer)
        assert store.rows(name)[0]["income"] == 42000


def test_older_manifest_is_found_unless_all_files_are_older(folder, secret) -> None:
    name = only(folder, secret)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with DataStore.open(folder, secret) as store:
        old = store.generation
        store.replace(name, data(ROWS.replace("41000", "42000")))
        assert store.generation == old + 1
    (folder / "manifest").write_bytes(before[folder / "manifest"])
    with pytest.raises(StoreDamaged, match="missing"):
        read_all(folder, secret)
    # What the documentation says remains: the whole folder as it was.
    for path, content in before.items():
        path.write_bytes(content)
    with DataStore.open(folder, secret) as store:
        assert store.generation == old and store.rows(name)[0]["income"] == 41000


def test_manifest_and_rows_of_another_store_are_found(folder, secret, tmp_path) -> None:
    with DataStore.create(tmp_path / "second", secret) as store:
        store.store(data())
    (folder / "manifest").write_bytes((tmp_path / "second" / "manifest").read_bytes())
    with pytest.raises(StoreDamaged, match="another store"):
        DataStore.open(folder, secret)


@pytest.mark.parametrize("name", ["manifest", "rows"])
@pytest.mark.parametrize("instead", ["nothing", "link", "pipe", "folder", "large"])
def test_file_that_is_not_the_stores_own_is_damage(
    folder, secret, name, instead, monkeypatch, tmp_path
) -> None:
    path = records(folder, only(folder, secret)) if name == "rows" else folder / name
    content = path.read_bytes()
    path.unlink()
    if instead == "link":
        (tmp_path / "copy").write_bytes(content)
        path.symlink_to(tmp_path / "copy")
    elif instead == "pipe":
        os.mkfifo(path)
    elif instead == "folder":
        path.mkdir()
    elif instead == "large":
        path.write_bytes(content)
        limit = "MOST_RECORDS_BYTES" if name == "rows" else "MOST_MANIFEST_BYTES"
        monkeypatch.setattr(data_store, limit, len(content) - 1)
    with pytest.raises(StoreDamaged):
        read_all(folder, secret)


def test_passphrase_opens_and_a_wrong_one_does_not(tmp_path) -> None:
    secret = passphrase("five random words of mine")
    with DataStore.create(tmp_path / "s", secret, log2_n=SMALL) as store:
        name = store.store(data())
        key = store.masking_key()
    for wrong in ("five random words of mine.", "FIVE RANDOM WORDS OF MINE", "x" * 12):
        with pytest.raises(StoreLocked, match="does not open") as caught:
            DataStore.open(tmp_path / "s", passphrase(wrong))
        assert wrong not in caught.value.message
    with DataStore.open(tmp_path / "s", secret) as store:
        assert store.data_set(name) == data() and store.masking_key() == key
        assert len(key) == 32


def test_passphrase_is_the_same_on_every_keyboard(tmp_path) -> None:
    with DataStore.create(
        tmp_path / "s", passphrase("caf\u00e9 caf\u00e9 caf\u00e9"), log2_n=SMALL
    ):
        pass
    with DataStore.open(tmp_path / "s", passphrase("cafe\u0301 cafe\u0301 cafe\u0301")) as store:
        assert store.list() == ()


def test_scrypt_has_its_documented_cost() -> None:
    assert (store_key.SCRYPT_LOG2_N, store_key.SCRYPT_R, store_key.SCRYPT_P) == (17, 8, 1)
    with pytest.raises(StoreLocked, match="11 characters"):
        passphrase("x" * 11)
    with pytest.raises(StoreLocked):
        passphrase("x" * 1025)


def test_kind_of_secret_must_be_that_of_the_store(folder) -> None:
    with pytest.raises(StoreLocked, match="opened by a key file"):
        DataStore.open(folder, passphrase("five random words"))


def test_key_file_is_refused_if_others_may_read_it(tmp_path) -> None:
    path = tmp_path / "key"
    make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600 and len(path.read_bytes()) == 32
    with pytest.raises(StoreLocked, match="not overwritten"):
        make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(StoreLocked, match="chmod 600"):
        key_file(path)
    path.chmod(0o600)
    path.write_bytes(bytes(31))
    with pytest.raises(StoreLocked, match="32 bytes"):
        key_file(path)
    with pytest.raises(StoreLocked, match="no key file"):
        key_file(tmp_path / "absent")
    with pytest.raises(StoreLocked, match="not a file"):
        key_file(tmp_path)


def test_secret_and_store_do_not_print_their_keys(folder, secret) -> None:
    with DataStore.open(folder, secret) as store:
        assert secret.value.hex() not in repr(secret) and repr(secret.value) not in repr(secret)
        assert repr(store.masking_key()) not in repr(store)


def test_search_by_tag_and_words_shows_descriptions_without_values(folder, secret) -> None:
    with DataStore.open(folder, secret) as store:
        assert [each.description.tag for each in store.list()] == ["bank", "other"]
        found = store.search(words="INCOME customers")
        assert [each.description.tag for each in found] == ["bank"]
        assert "Confidential" not in str(found) and "41000" not in str(found)
        assert store.search(words="income else") == ()
        assert len(store.search(words="bank")) == 1 and store.search(tag="ban") == ()
        assert len(store.search()) == 2
        assert store.search(words="Ada") == () and store.search(words="41000") == ()


def test_replaced_and_removed_data_leave_no_file(folder, secret) -> None:
    name = only(folder, secret)
    with DataStore.open(folder, secret) as store:
        store.replace(name, data())
        assert store.describe(name).version == 2
        assert [path.name for path in folder.glob(f"{name}-*")] == [f"{name}-2.records"]
        store.remove(name)
        assert not [*folder.glob(f"{name}-*")]
        for call in (store.rows, store.remove, store.describe, lambda n: store.replace(n, data())):
            with pytest.raises(UnknownDataSet):
                call(name)
        for wrong in ("", "../manifest", "0" * 32):
            with pytest.raises(UnknownDataSet):
                store.rows(wrong)


@pytest.mark.parametrize("file", ["manifest", "records"])
def test_full_disk_during_a_change_leaves_the_store_as_it_was(
    folder, secret, monkeypatch, file
) -> None:
    name = only(folder, secret)
    real = data_store.write_atomic

    def fails(path, content, *mode):
        if file in path.name:
            raise OSError(28, "No space left on device")
        real(path, content, *mode)

    with DataStore.open(folder, secret) as store:
        monkeypatch.setattr(data_store, "write_atomic", fails)
        with pytest.raises(OSError, match="space"):
            store.replace(name, data(ROWS.replace("41000", "42000")))
        assert store.rows(name)[0]["income"] == 41000
    assert read_all(folder, secret)[0] == data()
    monkeypatch.setattr(data_store, "write_atomic", real)
    with DataStore.open(folder, secret) as store:
        store.replace(name, data(ROWS.replace("41000", "43000")))
        assert store.rows(name)[0]["income"] == 43000
        assert len([*folder.glob("*.records")]) == 2


def test_creation_is_finished_after_an_interruption_and_never_overwrites(folder, secret) -> None:
    with pytest.raises(DataSetInvalid, match="open it"):
        DataStore.create(folder, secret)
    master = (folder / "master.json").read_bytes()
    (folder / "master.json").unlink()
    with pytest.raises(DataSetInvalid, match="restore it from a backup"):
        DataStore.create(folder, secret)
    with pytest.raises(UnknownDataSet, match="create it first"):
        DataStore.open(folder, secret)
    (folder / "master.json").write_bytes(master)
    assert len(read_all(folder, secret)) == 2
    mark = (folder / MARK).read_bytes()
    (folder / MARK).write_bytes(mark[1:])
    with pytest.raises(StoreDamaged, match="marks"):
        DataStore.open(folder, secret)
    (folder / MARK).write_bytes(mark)
    (folder / "master.json").unlink()
    for path in folder.glob("*.records"):
        path.unlink()
    with DataStore.create(folder, secret) as store:
        assert store.list() == ()


def test_folder_of_something_else_is_refused(tmp_path, secret) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("x")
    with pytest.raises(FolderNotOurs):
        DataStore.create(tmp_path / "mine", secret)
    for path in (tmp_path / "mine", tmp_path / "absent"):
        with pytest.raises(UnknownDataSet):
            DataStore.open(path, secret)


def test_one_process_at_a_time(folder, secret, tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from governance.data_store import DataStore\n"
        "from governance.store_key import key_file\n"
        "from utils.errors import DataFolderInUse\n"
        "try: DataStore.open(Path(sys.argv[1]), key_file(Path(sys.argv[2])))\n"
        "except DataFolderInUse: sys.exit(7)\n"
    )
    words = [sys.executable, "-c", program, str(folder), str(tmp_path / "key")]
    with DataStore.open(folder, secret) as store:
        with pytest.raises(DataFolderInUse, match="Another process"):
            DataStore.open(folder, secret)
        assert subprocess.run(words, cwd=ROOT, check=False).returncode == 7
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == 0
    with pytest.raises(UnknownDataSet, match="closed"):
        store.masking_key()


def test_failed_opening_releases_the_lock(folder, secret) -> None:
    (folder / "manifest").rename(folder / "manifest.away")
    with pytest.raises(StoreDamaged):
        DataStore.open(folder, secret)
    (folder / "manifest.away").rename(folder / "manifest")
    assert len(read_all(folder, secret)) == 2


def test_sizes_are_bounded(folder, secret, monkeypatch) -> None:
    with DataStore.open(folder, secret) as store:
        monkeypatch.setattr(data_store, "MOST_DATA_SETS", 2)
        with pytest.raises(DataSetInvalid, match="remove one"):
            store.store(data())
        monkeypatch.setattr(data_store, "MOST_RECORDS_BYTES", 100)
        with pytest.raises(DataSetInvalid, match="divide it"):
            store.replace(store.list()[0].id, data())
        monkeypatch.setattr(data_store, "MOST_ROW_BYTES", 10)
        with pytest.raises(DataSetInvalid, match="shorten"):
            store.replace(store.list()[0].id, data())
