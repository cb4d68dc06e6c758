"""Facts, headers, client files and the payload of encrypted inputs."""

import numpy as np
import pytest

from engines.envelope import seal, unseal_as
from engines.levelled.encryption import encrypt_bits
from engines.levelled.messages import (
    CLIENT_FACTS_FILE,
    ClientFacts,
    ProgramBudget,
    facts,
    header,
    join_inputs,
    split_inputs,
)
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.zip_files import pack
from utils.errors import ForeignMessage, MalformedMessage

BUDGET = ProgramBudget(score_bits=12, sigma_flood=2.0**-18, sigma_smudge=2.0**-19)
CLIENT = ClientFacts(profile=DEFAULT.profile, budgets={"decide": BUDGET})


def test_facts_state_that_nobody_holds_the_key():
    shown = facts(3)
    assert shown.joint_keys
    assert shown.encrypted
    assert "sum of 3 secrets" in shown.secret_key


def test_client_files_round_trip():
    archive = CLIENT.to_archive()
    assert ClientFacts.from_archive(archive) == CLIENT
    assert archive == CLIENT.to_archive()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {CLIENT_FACTS_FILE: b""},
        {CLIENT_FACTS_FILE: b"{}"},
        {CLIENT_FACTS_FILE: CLIENT.model_dump_json().replace('"format":1', '"format":2').encode()},
        {CLIENT_FACTS_FILE: CLIENT.model_dump_json().replace("12", "99").encode()},
        {CLIENT_FACTS_FILE: CLIENT.model_dump_json().replace("decide", 'x","y":"').encode()},
    ],
)
def test_invalid_client_files_are_refused(files):
    with pytest.raises(MalformedMessage, match="client files"):
        ClientFacts.from_archive(pack(files))


def test_impossible_budgets_are_refused():
    for change in ({"sigma_flood": 0.0}, {"sigma_smudge": 0.5}, {"sigma_flood": float("nan")}):
        text = BUDGET.model_copy(update=change).model_dump_json()
        with pytest.raises(ValueError, match="validation error"):
            ProgramBudget.model_validate_json(text)


def test_a_message_of_another_profile_is_foreign():
    message = seal(header("model", "result", program="decide", profile="n4096-l3-b14"), b"")
    with pytest.raises(ForeignMessage, match="profile"):
        unseal_as(header("model", "result", program="decide"), message)


def test_inputs_contain_the_digest_of_their_key(joint):
    bits = np.array([1, 0, 1], np.uint8)
    ciphertexts = encrypt_bits(bits, joint.public, DEFAULT, Expander.fresh())
    payload = join_inputs(joint.public.digest, ciphertexts, DEFAULT)
    assert len(payload) == DEFAULT.inputs_bytes(3)
    digest, read = split_inputs(memoryview(payload), 3, DEFAULT)
    assert digest == joint.public.digest
    assert np.array_equal(read.decode().bodies, ciphertexts.cut(DEFAULT).bodies)
    for broken in (payload[:-1], payload + b"\0", payload[:10], b""):
        with pytest.raises(MalformedMessage):
            split_inputs(broken, 3, DEFAULT)
