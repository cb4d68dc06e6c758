"""Signed notes and cosignatures: published ones verify, altered ones do not; cosigners' rule."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.log.checkpoint import (
    COSIGNER_KEY,
    LARGEST_NOTE,
    LOG_KEY,
    MOST_SIGNATURES,
    Checkpoint,
    CosignerState,
    Note,
    SignatureLine,
    cosignature,
    cosigned_at,
    key_id,
    require_cosigners,
    sign_checkpoint,
    verifier_key,
    verify_checkpoint,
)
from governance.log.merkle import MemoryNodes, append, consistency_proof, leaf_hash, root
from utils.errors import LogInconsistent, ProofInvalid

ORIGIN, NOW = "bank.example/log", 1_790_000_000
LOG, BANK, AGENCY, WITNESS = (
    Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(4)
)

# A checkpoint of the public log arche2025h1, cosigned by the public witness remora.n621.de, with
# signatures of further types and witnesses; the keys are those that the two publish.
PUBLIC_NOTE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev {tree_head}
— arche2025h1.staging.ct.transparency.dev {log}
— remora.n621.de {remora}
""".format(
    tree_head="zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroe"
    "W2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=",
    log="ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3"
    "ZFWwQ=",
    remora="2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU"
    "/zZ0WBxtqB0DrAWfBw==",
)
PUBLIC_ORIGIN = "arche2025h1.staging.ct.transparency.dev"
PUBLIC_LOG = PUBLIC_ORIGIN + "+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
# The example of golang.org/x/mod/sumdb/note, package documentation and note_test.go.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NEUMANN_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb"
    "6KE6RyyBwJnAM=\n"
)


def public(key):
    return key.public_key().public_bytes_raw()


def published_key(text):
    """Return the raw key of a published verifier key, and check its id."""
    name, identifier, encoded = text.split("+", 2)
    data = base64.b64decode(encoded)
    assert verifier_key(name, data[0], data[1:]) == text
    assert key_id(name, data[0], data[1:]).hex() == identifier
    return data[1:]


def grown(sizes, entries=b"entry %d"):
    """Return a store and the log's signed checkpoints at these sizes."""
    store, notes, size = MemoryNodes(), [], 0
    for wanted in sizes:
        size = append(store, size, [leaf_hash(entries % each) for each in range(size, wanted)])
        notes.append(sign_checkpoint(Checkpoint(ORIGIN, size, root(store, size)), LOG))
    return store, notes


def cosigned(note, signers, seconds=NOW):
    return note.with_lines(
        [cosignature(note.body, name, key, seconds) for name, key in signers.items()]
    )


SIGNERS = {"bank": BANK, "agency": AGENCY, "witness": WITNESS}
COSIGNERS = {name: public(key) for name, key in SIGNERS.items()}
STORE, (NOTE,) = grown([5])
COSIGNED = cosigned(NOTE, SIGNERS)


def test_published_checkpoint_and_cosignature_verify():
    note = Note.parse(PUBLIC_NOTE)
    checkpoint = verify_checkpoint(note, PUBLIC_ORIGIN, published_key(PUBLIC_LOG))
    assert checkpoint.size == 1432088532
    assert cosigned_at(note, "remora.n621.de", published_key(REMORA)) == 0x6A122120
    assert note.text() == PUBLIC_NOTE


def test_published_checkpoint_with_another_size_is_refused():
    note = Note.parse(PUBLIC_NOTE.replace("1432088532", "1432088531"))
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        verify_checkpoint(note, PUBLIC_ORIGIN, published_key(PUBLIC_LOG))
    with pytest.raises(ProofInvalid, match="does not belong"):
        cosigned_at(note, "remora.n621.de", published_key(REMORA))


def test_published_note_has_the_line_that_this_key_signs():
    published_key(NEUMANN)
    note = Note.parse(NEUMANN_TEXT + "\n" + NEUMANN_LINE)
    assert note.body == NEUMANN_TEXT and note.signatures[0].name == "PeterNeumann"
    assert note.text() == NEUMANN_TEXT + "\n" + NEUMANN_LINE
    # The signing key that is published with it; Ed25519 signatures are deterministic.
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(NEUMANN_TEXT.encode())
    assert note.signatures[0].signature == signature


def test_signed_and_cosigned_checkpoint_is_read_back():
    note = Note.parse(COSIGNED.text())
    assert verify_checkpoint(note, ORIGIN, public(LOG)) == Checkpoint(ORIGIN, 5, root(STORE, 5))
    assert require_cosigners(note, COSIGNERS) == dict.fromkeys(COSIGNERS, NOW)


@given(place=st.integers(0, len(COSIGNED.text()) - 1), new=st.characters(max_codepoint=0x2100))
@settings(max_examples=300, deadline=None)
def test_no_changed_character_of_a_checkpoint_is_accepted(place, new):
    text = COSIGNED.text()
    changed = text[:place] + new + text[place + 1 :]
    if changed == text:
        return
    with pytest.raises(ProofInvalid):
        note = Note.parse(changed)
        verify_checkpoint(note, ORIGIN, public(LOG))
        require_cosigners(note, COSIGNERS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n",
        NOTE.body,
        NOTE.body + "\n",
        NOTE.text().removesuffix("\n"),
        NOTE.text() + "\n",
        NOTE.text() + "x\n",
        NOTE.text().replace("\n", "\r\n"),
        NOTE.text().replace("— ", "- "),
        NOTE.text().replace("—", "— "),
        NOTE.text().replace("=\n", "\n"),
        NOTE.text() + NOTE.signatures[0].text(),
        NOTE.text() + SignatureLine("x", b"", b"1234").text(),
        NOTE.text().replace("bank", "b\ud800k"),
        NOTE.text().replace("bank", "b\x00k"),
        NOTE.text() + "x" * LARGEST_NOTE,
        NOTE.text() + "".join(SignatureLine(f"n{i}", b"1234", b"5").text() for i in range(32)),
    ],
)
def test_malformed_notes_are_refused(text):
    with pytest.raises(ProofInvalid):
        Note.parse(text)


@pytest.mark.parametrize(
    "body",
    [
        "",
        f"{ORIGIN}\n5\n",
        NOTE.body + "extension\n",
        NOTE.body.replace("5", "05", 1),
        NOTE.body.replace("\n5\n", "\n+5\n"),
        NOTE.body.replace("\n5\n", "\n٥\n"),
        NOTE.body.replace("\n5\n", f"\n{2**53}\n"),
        NOTE.body.replace("=", ""),
        NOTE.body.replace("\n", " \n"),
        f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n5\n{'A' * 42}B=\n",  # bits after the 32nd byte
        f"a b\n5\n{base64.b64encode(bytes(32)).decode()}\n",
    ],
)
def test_malformed_checkpoints_are_refused(body):
    with pytest.raises(ProofInvalid, match="not a checkpoint"):
        Checkpoint.parse(body)


def test_other_origin_or_key_is_refused():
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        verify_checkpoint(NOTE, "other.example/log", public(LOG))
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        verify_checkpoint(NOTE, ORIGIN, public(BANK))
    # One key that signs for two logs: the origin in the text decides.
    foreign = sign_checkpoint(Checkpoint("other.example/log", 5, bytes(32)), LOG)
    line = SignatureLine(ORIGIN, key_id(ORIGIN, LOG_KEY, public(LOG)), LOG.sign(b""))
    signature = LOG.sign(foreign.body.encode())
    forged = Note(foreign.body, (SignatureLine(line.name, line.key_id, signature),))
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        verify_checkpoint(forged, ORIGIN, public(LOG))


def test_signature_of_the_log_is_no_cosignature():
    """Without the first line of cosignature/v1, the log could pass its own as a cosigner's."""
    identifier = key_id("bank", COSIGNER_KEY, public(BANK))
    plain = bytes(8) + BANK.sign(NOTE.body.encode())
    forged = Note(NOTE.body, (*NOTE.signatures, SignatureLine("bank", identifier, plain)))
    with pytest.raises(ProofInvalid, match="cosignature by bank"):
        cosigned_at(forged, "bank", public(BANK))


def test_time_of_a_cosignature_is_signed():
    line = next(each for each in COSIGNED.signatures if each.name == "bank")
    later = (NOW + 1).to_bytes(8, "big") + line.signature[8:]
    forged = Note(NOTE.body, (SignatureLine("bank", line.key_id, later),))
    with pytest.raises(ProofInvalid, match="cosignature by bank"):
        cosigned_at(forged, "bank", public(BANK))


def test_all_named_cosigners_are_required_unless_fewer_are_allowed():
    two = cosigned(NOTE, {"bank": BANK, "agency": AGENCY})
    with pytest.raises(ProofInvalid, match=r"2 of the 3 cosigners.*witness did not sign"):
        require_cosigners(two, COSIGNERS)
    assert set(require_cosigners(two, COSIGNERS, least=2)) == {"bank", "agency"}


def test_no_named_cosigner_is_refused():
    with pytest.raises(ProofInvalid, match="No cosigner is named"):
        require_cosigners(COSIGNED, {})


@pytest.mark.parametrize("least", [0, -1, 4])
def test_senseless_thresholds_are_refused(least):
    with pytest.raises(ProofInvalid, match="from 1 to 3"):
        require_cosigners(COSIGNED, COSIGNERS, least)


def test_one_key_under_two_names_is_refused():
    """The name is not signed, so that one signature would count twice."""
    double = cosigned(NOTE, {"bank": BANK, "agency": BANK})
    with pytest.raises(ProofInvalid, match="same key"):
        require_cosigners(double, {"bank": public(BANK), "agency": public(BANK)})


def test_unknown_signatures_are_ignored():
    stranger = Ed25519PrivateKey.generate()
    note = cosigned(COSIGNED, {"bank.evil": stranger, "bank": stranger})
    assert require_cosigners(Note.parse(note.text()), COSIGNERS)["bank"] == NOW
    with pytest.raises(ProofInvalid):
        require_cosigners(cosigned(NOTE, {"bank": stranger}), {"bank": public(BANK)})


def test_number_of_signatures_is_bounded_when_lines_are_added():
    many = {f"n{number}": BANK for number in range(MOST_SIGNATURES)}
    with pytest.raises(ProofInvalid, match="at most 32"):
        cosigned(NOTE, many)


def sign_with(state, note, old, proof, name="bank", key=BANK):
    return state.cosign(note, public(LOG), old, proof, name=name, key=key, seconds=NOW)


def test_cosigner_follows_a_growing_log():
    store, notes = grown([0, 1, 5, 5, 9])
    state, size = CosignerState(ORIGIN), 0
    for note in notes:
        new = Checkpoint.parse(note.body).size
        proof = consistency_proof(store, size, new)
        line, state = sign_with(state, note, size, proof)
        assert cosigned_at(note.with_lines([line]), "bank", public(BANK)) == NOW
        size = new
    assert state == CosignerState(ORIGIN, 9, root(store, 9))
    assert CosignerState.from_bytes(state.to_bytes()) == state


def test_cosigner_refuses_a_rolled_back_log():
    store, (small, large) = grown([4, 8])
    _, state = sign_with(CosignerState(ORIGIN), large, 0, [])
    with pytest.raises(LogInconsistent, match="rolled back"):
        sign_with(state, small, 8, consistency_proof(store, 4, 8))
    # Control: a cosigner without memory signs it.
    assert sign_with(CosignerState(ORIGIN), small, 0, [])


@pytest.mark.parametrize("size", [8, 9, 16])
def test_cosigner_refuses_a_forked_log(size):
    _, (first,) = grown([8])
    other, (forked,) = grown([size], b"forged %d")
    _, state = sign_with(CosignerState(ORIGIN), first, 0, [])
    with pytest.raises(LogInconsistent, match=r"fork|not shown to continue"):
        sign_with(state, forked, 8, consistency_proof(other, 8, size))
    # Control: a cosigner without memory signs both, and two readers see different logs.
    line, _ = sign_with(CosignerState(ORIGIN), forked, 0, [])
    assert cosigned_at(forked.with_lines([line]), "bank", public(BANK)) == NOW


def test_cosigner_refuses_a_proof_from_another_size():
    """A proof from size 0 is empty and shows nothing about what was signed before."""
    _, (first,) = grown([8])
    _, (forked,) = grown([9], b"forged %d")
    _, state = sign_with(CosignerState(ORIGIN), first, 0, [])
    with pytest.raises(LogInconsistent, match="proof from 8"):
        sign_with(state, forked, 0, [])


def test_cosigner_refuses_what_the_log_has_not_signed():
    stranger = sign_checkpoint(Checkpoint(ORIGIN, 8, bytes(32)), AGENCY)
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        sign_with(CosignerState(ORIGIN), stranger, 0, [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        CosignerState(ORIGIN, 3, bytes(32)).to_bytes()[:-2],
        CosignerState(ORIGIN, 3, bytes(32)).to_bytes().replace(b":3", b":-3"),
        CosignerState(ORIGIN, 3, bytes(32)).to_bytes().replace(b":3", b":true"),
        CosignerState(ORIGIN, 3, bytes(32)).to_bytes() + b" ",
    ],
)
def test_damaged_state_is_not_taken_for_a_new_one(data):
    with pytest.raises(LogInconsistent, match="Restore it"):
        CosignerState.from_bytes(data)
