"""The challenge: bound to every field, and to the order of the parties."""

import os

import pytest

from engines.levelled.challenge import challenge
from utils.errors import MalformedMessage

UPLOADS = {"applicant": bytes(32), "bank": b"\1" * 32}
NONCES = {"applicant": b"\2" * 32, "bank": b"\3" * 32}


def test_challenge_is_a_pure_function():
    seed = challenge(b"application", UPLOADS, NONCES)
    assert len(seed) == 32
    assert seed == challenge(b"application", UPLOADS, dict(reversed(NONCES.items())))
    assert seed.hex() == "17a0caee313be367634748e232b2ff51de714aaf38ac770668286bf68797eb8c"


def test_every_field_changes_the_challenge():
    changed = [
        (b"another", UPLOADS, NONCES),
        (b"application", {**UPLOADS, "bank": os.urandom(32)}, NONCES),
        (b"application", UPLOADS, {**NONCES, "applicant": os.urandom(32)}),
        (b"application", dict(reversed(UPLOADS.items())), NONCES),
        (b"application", {"applicant": UPLOADS["bank"], "bank": UPLOADS["applicant"]}, NONCES),
        (b"application", UPLOADS, {"applicant": NONCES["bank"], "bank": NONCES["applicant"]}),
        (
            b"application",
            {"a": bytes(32), "bank": b"\1" * 32},
            {"a": b"\2" * 32, "bank": b"\3" * 32},
        ),
        (b"applicatio", {"nbank": bytes(32)}, {"nbank": bytes(32)}),
        (b"application", {"bank": bytes(32)}, {"bank": bytes(32)}),
    ]
    seeds = {challenge(b"application", UPLOADS, NONCES), *(challenge(*own) for own in changed)}
    assert len(seeds) == len(changed) + 1


@pytest.mark.parametrize(
    ("uploads", "nonces"),
    [
        (UPLOADS, {"applicant": bytes(32)}),
        ({"applicant": bytes(32)}, NONCES),
        ({**UPLOADS, "bank": bytes(31)}, NONCES),
        (UPLOADS, {**NONCES, "bank": bytes(33)}),
        (UPLOADS, {**NONCES, "bank": b""}),
    ],
)
def test_missing_or_malformed_fields_are_refused(uploads, nonces):
    with pytest.raises(MalformedMessage):
        challenge(b"application", uploads, nonces)
