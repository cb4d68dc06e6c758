"""The list of witnesses in the settings, and a witness's key file."""

import pytest

from parties.joint.witnesses import required_witnesses, witness_words
from utils.errors import InvalidRequest, MalformedMessage
from utils.witness_list import MOST_WITNESSES, parse_witnesses
from witness.key import KEY_FILE, claim_home, load_key, public_hex

ONE, TWO = "0a" * 32, "0b" * 32


def test_list_gives_names_by_key():
    assert parse_witnesses("") == parse_witnesses(" , ") == {}
    assert parse_witnesses(f" Auditor={ONE}, Bank Supervisor={TWO} ,") == {
        ONE: "Auditor",
        TWO: "Bank Supervisor",
    }


@pytest.mark.parametrize(
    "listed",
    [
        "Auditor",
        f"auditor={ONE}",
        f"Auditor={ONE[:-1]}",
        f"Auditor={ONE.upper()}",
        f"<b>={ONE}",
        f"{'A' * 33}={ONE}",
        f"One={ONE},Two={ONE}",
        f"One={ONE},One={TWO}",
        ",".join(f"W{i}={i:064x}" for i in range(MOST_WITNESSES + 1)),
    ],
)
def test_invalid_list_is_refused(listed):
    with pytest.raises(InvalidRequest):
        parse_witnesses(listed)


def test_words_name_the_witnesses_or_the_trust_in_the_server():
    assert "the server is trusted" in witness_words(())
    assert "witnesses One and Two" in witness_words(("One", "Two"))
    assert required_witnesses(None, ()) == required_witnesses({}, ()) == {}


def test_key_is_made_once_and_a_damaged_one_is_refused(tmp_path):
    home = claim_home(tmp_path / "witness")
    key = public_hex(load_key(home))
    assert public_hex(load_key(home)) == key and len(key) == 64
    (home / KEY_FILE).write_bytes(b"short")
    with pytest.raises(MalformedMessage, match="damaged"):
        load_key(home)
    assert (home / KEY_FILE).read_bytes() == b"short"
