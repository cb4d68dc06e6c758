"""Statements: every field is signed, and only the witness's own signature is accepted."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.statement import Statement, slot_name, verify_statement
from utils.errors import ResultNotWitnessed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SLOT = slot_name("bank", "encrypted_inputs")
STATEMENT = Statement("0" * 32, "decide", "1" * 64, {SLOT: "2" * 64, "b/c": "3" * 64}, "4" * 64)
OTHERS = [
    replace(STATEMENT, application="1" * 32),
    replace(STATEMENT, program="explain"),
    replace(STATEMENT, model_sha256="0" * 64),
    replace(STATEMENT, messages={SLOT: "2" * 64}),
    replace(STATEMENT, messages={SLOT: "2" * 64, "b/c": "2" * 64}),
    replace(STATEMENT, messages={SLOT: "3" * 64, "b/c": "2" * 64}),
    replace(STATEMENT, result_sha256="5" * 64),
]


def test_signature_of_the_same_statement_is_accepted():
    verify_statement(STATEMENT, PUBLIC, STATEMENT.sign(KEY), "Auditor")
    reordered = replace(STATEMENT, messages=dict(reversed(STATEMENT.messages.items())))
    verify_statement(reordered, PUBLIC, STATEMENT.sign(KEY), "Auditor")


@pytest.mark.parametrize("other", OTHERS)
def test_signature_of_another_statement_is_refused(other):
    with pytest.raises(ResultNotWitnessed, match="Auditor"):
        verify_statement(STATEMENT, PUBLIC, other.sign(KEY), "Auditor")


def test_signature_by_another_key_or_without_the_domain_is_refused():
    stranger = Ed25519PrivateKey.generate()
    bare = KEY.sign(STATEMENT.to_bytes().partition(b"\n")[2])
    for key, signature in (
        (PUBLIC, STATEMENT.sign(stranger)),
        (PUBLIC, bare),
        (PUBLIC, b""),
        (b"", STATEMENT.sign(KEY)),
        (bytes(32), STATEMENT.sign(KEY)),
    ):
        with pytest.raises(ResultNotWitnessed):
            verify_statement(STATEMENT, key, signature, "Auditor")
