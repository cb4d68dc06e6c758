"""The secret of an owner's data store comes from files, a setting or the terminal."""

from __future__ import annotations

import pytest

from governance.store_key import key_file, make_key_file, passphrase
from parties import owner_command, store_secret
from parties.institution_command import read_partner_token
from parties.store_secret import KEY_FILE
from utils.errors import NotAuthorised, StoreLocked

WORDS = "correct horse battery staple"


def secret_of(home, **given):
    chosen = {
        "exists": False,
        "passphrase_file": None,
        "own_key_file": None,
        "setting": None,
        "say": lambda _: None,
        **given,
    }
    return store_secret.store_secret(home, **chosen)


def private_file(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def no_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)


def test_passphrase_from_a_file_or_the_setting(tmp_path):
    file = private_file(tmp_path / "words", f"{WORDS}\n")
    assert secret_of(tmp_path, passphrase_file=file) == passphrase(WORDS)
    assert secret_of(tmp_path, setting=WORDS) == passphrase(WORDS)
    file.chmod(0o644)
    with pytest.raises(StoreLocked, match="chmod 600"):
        secret_of(tmp_path, passphrase_file=file)
    with pytest.raises(StoreLocked, match="no passphrase file"):
        secret_of(tmp_path, passphrase_file=tmp_path / "none")


def test_new_store_without_terminal_gets_a_key_file_and_keeps_it(tmp_path, no_terminal):
    said = []
    made = secret_of(tmp_path / "home", say=said.append)
    path = tmp_path / "home" / KEY_FILE
    assert made == key_file(path) and path.stat().st_mode & 0o777 == 0o600
    assert len(said) == 1 and str(path) in said[0]
    assert secret_of(tmp_path / "home", exists=True, say=said.append) == made
    assert len(said) == 1


def test_existing_store_never_gets_another_key(tmp_path, no_terminal):
    with pytest.raises(StoreLocked, match="--passphrase-file"):
        secret_of(tmp_path, exists=True)
    assert list(tmp_path.iterdir()) == []


def test_terminal_is_asked_twice_for_a_new_store(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    given = iter([WORDS, WORDS, WORDS, "something else again", WORDS])
    monkeypatch.setattr("getpass.getpass", lambda _: next(given))
    assert secret_of(tmp_path) == passphrase(WORDS)
    with pytest.raises(StoreLocked, match="differ"):
        secret_of(tmp_path)
    assert secret_of(tmp_path, exists=True) == passphrase(WORDS)
    assert next(given, None) is None


def test_given_key_file_is_used(tmp_path):
    make_key_file(tmp_path / "key")
    assert secret_of(tmp_path, own_key_file=tmp_path / "key") == key_file(tmp_path / "key")


def test_token_file_of_a_partner(tmp_path):
    file = private_file(tmp_path / "token", "abc\n")
    assert read_partner_token(file) == "abc"
    file.chmod(0o604)
    with pytest.raises(NotAuthorised, match="chmod 600"):
        read_partner_token(file)
    with pytest.raises(NotAuthorised, match="partner add"):
        read_partner_token(tmp_path / "none")
    for text in ("", "two words"):
        with pytest.raises(NotAuthorised, match="the token alone"):
            read_partner_token(private_file(tmp_path / "other", text))


@pytest.mark.parametrize(
    "words",
    [
        "--api-port 5001",
        "--name Ann",
        "--name Ann --api-port 0",
        "--name Ann --api-port 65500",
        "--name Ann --api-port 5001 --passphrase-file a --key-file b",
        "--name Ann --api-port 5001 --passphrase secret",
        "--name Ann --api-port 5001 --server ftp://x",
    ],
)
def test_wrong_command_line_prints_the_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        owner_command.parse(words.split())
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


def test_exchange_has_a_port_of_its_own():
    wanted = owner_command.parse(["--name", "Ann", "--api-port", "5001"])
    assert wanted.exchange == ("127.0.0.1", 5101)
    more = ["--exchange-host", "10.0.0.5", "--exchange-port", "7000"]
    wanted = owner_command.parse(["--name", "Ann", "--api-port", "5001", *more])
    assert wanted.exchange == ("10.0.0.5", 7000)
