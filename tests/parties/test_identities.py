"""Identity keys and trust files: the files, the commands, and agents that refuse an impostor."""

import json
import os
import stat
import threading
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from parties.agent import Agent
from parties.client import ServerClient
from parties.connection import Connection
from parties.identity_file import IDENTITY_KEY, make_identity, read_identity
from parties.joint.codes import open_joint
from parties.joint.identities import IdentityKey, Trust
from parties.joint.member import JointMember
from parties.store import PartyStore
from parties.trust_file import LARGEST, TrustFile, line_of
from tests.parties.joint.running import connect
from tests.parties.running import run_python, until
from utils.errors import FolderNotOurs, IdentityKeyInvalid, IdentityMismatch, TrustFileInvalid

A_KEY, B_KEY = "0a" * 32, "0b" * 32


run = partial(run_python, "-m", "parties")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_command_makes_a_key_once_and_prints_its_line(tmp_path):
    first = run("identity", "--party", "bank", party_data=tmp_path)
    path = tmp_path / "bank" / IDENTITY_KEY
    written = path.read_bytes()
    assert mode_of(path) == 0o600 and mode_of(path.parent) == 0o700
    again = run("identity", "--party", "bank", "--home", str(tmp_path / "bank"))
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout and path.read_bytes() == written
    line = first.stdout.splitlines()[-1]
    public = read_identity(path.parent).public
    assert TrustFile.parse(line.encode(), "x").pins == {"bank": public}
    assert f"Public identity key of bank: {public.hex()}\n" in first.stdout
    secret = written.splitlines()[1].decode()
    assert secret not in first.stdout and not first.stderr


def test_concurrent_calls_make_one_key(tmp_path):
    for n in range(5):
        start, found = threading.Barrier(6), []

        def make(home=tmp_path / f"{n}", start=start, found=found):
            start.wait()
            found.append(make_identity(home).public)

        threads = [threading.Thread(target=make) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6 and len(set(found)) == 1
        names = {path.name for path in (tmp_path / f"{n}").iterdir()}
        assert names == {IDENTITY_KEY, ".triseal-folder"}


def test_identity_key_is_not_made_in_a_foreign_folder(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderNotOurs):
        make_identity(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_key_file_open_to_others_is_refused(tmp_path, mode):
    make_identity(tmp_path)
    path = tmp_path / IDENTITY_KEY
    path.chmod(mode)
    for read in (read_identity, make_identity):
        with pytest.raises(IdentityKeyInvalid, match=f"chmod 600 {path}"):
            read(tmp_path)
    path.chmod(0o600)
    assert read_identity(tmp_path) is not None


def of_another_kind():
    pkcs8 = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return X25519PrivateKey.generate().private_bytes(*pkcs8)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 32, os.urandom(9000), of_another_kind()],
    ids=["empty", "raw", "long", "x"],
)
def test_damaged_key_file_is_refused_and_kept(tmp_path, data):
    make_identity(tmp_path)
    (tmp_path / IDENTITY_KEY).write_bytes(data)
    for read in (read_identity, make_identity):
        with pytest.raises(IdentityKeyInvalid, match=r"is damaged.*Restore it"):
            read(tmp_path)
    assert (tmp_path / IDENTITY_KEY).read_bytes() == data


def test_named_pipe_in_place_of_the_key_does_not_block(tmp_path):
    os.mkfifo(tmp_path / IDENTITY_KEY, 0o600)
    with pytest.raises(IdentityKeyInvalid, match="is not a file"):
        read_identity(tmp_path)


def test_trust_file_may_have_comments_and_blank_lines():
    text = f"# keys\r\n\n bank={A_KEY}\t\nagency  =  {B_KEY}"
    found = TrustFile.parse(text.encode(), "x")
    assert {name: key.hex() for name, key in found.pins.items()} == {"bank": A_KEY, "agency": B_KEY}
    assert found.of_others("bank") == {"agency": bytes.fromhex(B_KEY)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"bank = {A_KEY}\nbank {B_KEY}", "line 2: it must be `party = key`"),
        (f"bank = {A_KEY[:-1]}", "line 1: it must be"),
        (f"bank = {A_KEY}0", "line 1: it must be"),
        (f"bank = {A_KEY.upper()}", "line 1: it must be"),
        (f"Bank = {A_KEY}", "line 1: it must be"),
        (f"bank = {A_KEY} # ours", "line 1: it must be"),
        (f"= {A_KEY}", "line 1: it must be"),
        (f"bänk = {A_KEY}", "line 1: it must be"),
        (f"bank\0 = {A_KEY}", "line 1: it must be"),
        (f"bank = {A_KEY}\rx = {B_KEY}", "line 1: it must be"),
        (f"bank = {A_KEY}\n\nbank = {B_KEY}", "line 3: bank is in line 1 already. Remove one"),
        (f"bank = {A_KEY}\nbank = {A_KEY}", "line 2: bank is in line 1 already"),
        (f"bank = {A_KEY}\nx = {A_KEY}", "line 2: x has the same key as bank in line 1. Ask both"),
        ("", "pins no party. Add a line"),
        ("# nobody\n", "pins no party. Add a line"),
        ('{"bank": "0a"}', "line 1: it must be"),
        ("#" * LARGEST + "\n", "larger than"),
    ],
)
def test_wrong_trust_file_is_refused_as_a_whole(tmp_path, text, words):
    path = tmp_path / "trust"
    path.write_bytes(text.encode())
    with pytest.raises(TrustFileInvalid) as caught:
        TrustFile.read(path)
    assert words in caught.value.message and str(path) in caught.value.message


def test_unreadable_trust_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(TrustFileInvalid, match=r"cannot be read.*--trust or TRISEAL_TRUST"):
            TrustFile.read(path)


def test_party_that_the_schema_lacks_is_named_with_its_line():
    found = TrustFile.parse(f"#\nbnak = {A_KEY}".encode(), "pins")
    with pytest.raises(TrustFileInvalid, match=r"pins, line 2: .* has no party bnak\. Its"):
        found.require_names(["applicant", "bank"])
    found.require_names(["applicant", "bnak"])


def test_own_line_has_to_be_of_the_own_key():
    key = IdentityKey.fresh()
    found = TrustFile.parse(line_of("bank", key.public).encode(), "pins")
    found.require_own("bank", key)
    found.require_own("applicant", None)
    for other in (None, IdentityKey.fresh()):
        with pytest.raises(TrustFileInvalid, match="line 1: this is bank"):
            found.require_own("bank", other)


@pytest.mark.parametrize("by_setting", [False, True])
def test_agent_with_a_wrong_trust_file_ends_before_it_joins(tmp_path, by_setting):
    path = tmp_path / "trust"
    path.write_text("bank = mine\n")
    words = ("--party", "applicant", "--no-page", "--home", str(tmp_path / "home"))
    settings = {"trust": path} if by_setting else {}
    words += () if by_setting else ("--trust", str(path))
    ended = run(*words, **settings)
    assert ended.returncode == 1 and len(ended.stderr.strip().splitlines()) == 1
    assert f"{path}, line 1: it must be" in ended.stderr and not (tmp_path / "home").exists()


@pytest.fixture
def played(tmp_path, levelled_server):
    """Start agents of given parties with real encryption; returns their applications."""
    started = []
    with ServerClient(levelled_server.url, 30) as opener:
        opening = open_joint(opener)

        def play(party, trust):
            client = ServerClient(levelled_server.url, 30)
            store = PartyStore(tmp_path / party)
            agent = Agent(Connection(client, store, trust=trust), party)
            started.append((client, agent))
            return agent.join(opening.codes[party], pinned=True)

        yield play
    for client, agent in started:
        agent.close()
        client.close()


def test_stranger_with_the_join_codes_cannot_play_a_pinned_bank(played):
    """It plays the bank over HTTP, with the bank's real join code and an identity of its own."""
    pins = {"bank": IdentityKey.fresh().public}
    honest = [played("applicant", Trust(pins=pins)), played("credit_agency", Trust(pins=pins))]
    played("bank", Trust())
    for application in honest:
        until(lambda application=application: application.over)
        member = application.member
        assert isinstance(member.ended, IdentityMismatch)
        assert "the key pinned for bank" in application.over
        assert not member.keys_ready and member.secret_bytes == 0
        files = {what for what, _ in member.holdings()}
        assert not any("secret key" in what or "signing" in what for what in files)


def test_without_pins_the_stranger_makes_the_key_with_the_others(played):
    """Control: nobody has pinned the bank."""
    honest = [played("applicant", Trust()), played("credit_agency", Trust())]
    stranger = played("bank", Trust())
    until(lambda: all(application.member.keys_ready for application in [*honest, stranger]))
    for application in honest:
        assert not any(one.pinned for one in application.member.identities)


def test_pins_added_at_a_restart_end_an_application_with_an_impostor(local_server, tmp_path):
    client = local_server.client()
    opening = open_joint(client)
    pins = {"bank": IdentityKey.fresh().public}

    def join(party, trust=None):
        connection = connect(local_server, tmp_path / party, client, trust)
        return JointMember.join(connection, party, opening.codes[party])

    members = {name: join(name) for name in local_server.public.schema_.party_names}
    while sum([member.advance() for member in members.values()]):
        pass
    assert members["applicant"].keys_ready
    members["applicant"].close()
    again = join("applicant", Trust(pins=pins))
    assert isinstance(again.ended, IdentityMismatch) and again.secret_bytes == 0
    with pytest.raises(IdentityMismatch):
        again.advance()
    again.close()
    # The right pin, added at a restart, changes nothing.
    right = {"bank": members["bank"].own_identity}
    members["credit_agency"].close()
    agency = join("credit_agency", Trust(pins=right))
    assert agency.ended is None
    assert {one.party: one.pinned for one in agency.identities} == {
        "applicant": False,
        "bank": True,
    }


def test_messages_of_an_institution_have_no_private_key(tmp_path, local_server):
    key = make_identity(tmp_path / "key")
    connection = connect(local_server, tmp_path / "bank", trust=Trust(key))
    opening = open_joint(connection.client)
    with JointMember.join(connection, "bank", opening.codes["bank"]) as member:
        member.advance()
        assert member.own_identity == key.public
    secret = (tmp_path / "key" / IDENTITY_KEY).read_bytes().splitlines()[1]
    kept = b"".join(p.read_bytes() for p in (tmp_path / "bank").rglob("*") if p.is_file())
    assert secret not in kept and json.dumps(secret.decode()).encode() not in kept
    assert repr(Trust(key)) == "Trust(pins={})"
