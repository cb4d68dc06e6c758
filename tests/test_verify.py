"""verify.py: it accepts what the project accepts, and needs nothing of the project."""

import ast
import copy
import json
import random
import shutil
import subprocess
import sys

import pytest

import verify
from governance.canonical import canonical
from governance.log import decision_file
from governance.log.checkpoint import Checkpoint, cosignature, sign_checkpoint
from governance.log.decision_file import DecisionFile, Inclusion, Trust
from governance.log.merkle import append, consistency_proof, inclusion_proof
from governance.permits import Use, issue
from settings import ROOT
from trials.logged_uses import (
    COSIGNERS,
    ORIGIN,
    START,
    LoggedUse,
    a_log,
    a_use,
    key_of,
    make_entry,
    public_of,
    trust,
)
from utils.errors import GovernanceError, ResultNotWitnessed

TRUST = trust()
LOG = a_log(17)
FILES = [LOG.decision_file(index) for index in LOG.uses]
DECIDE = next(file for file in FILES if file.entry["digests"].get("statement"))


def accepted_by_project(data, keys):
    try:
        decision_file.verify(DecisionFile.parse(data), Trust.parse(keys))
    except (GovernanceError, ResultNotWitnessed):
        return False
    return True


def failed_checks(data, keys=None):
    keys = TRUST.to_bytes() if keys is None else keys
    checks = list(verify.check_decision(data, keys))
    failed = [name for passed, name, _ in checks if not passed]
    assert accepted_by_project(data, keys) == (not failed)
    return failed


def keys_with(**changes):
    return canonical({**TRUST.model_dump(mode="json"), **changes})


def changed(file, **changes):
    return canonical({**file.model_dump(mode="json"), **changes})


def relogged(use, log=None):
    """Return the decision file of a use that the log's operator and all cosigners log."""
    log = log or a_log(1, rounds=1)
    index = len(log.entries)
    log.add(use.entry, use)
    log.cosign(log.head(), START + 10_000)
    return log.decision_file(index)


def with_grants(use, grants, program=None, statement=None):
    """Return the use with other grants, and an entry that names them."""
    program, statement = program or use.program, statement or use.statement
    result = use.entry.digests["result"][0]
    entry = make_entry(use.entry.seconds, grants, program, statement, result)
    return LoggedUse(tuple(grants), program, statement, entry)


def test_it_imports_only_the_standard_library_and_cryptography():
    tree = ast.parse((ROOT / "verify.py").read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module.partition(".")[0])
    assert "cryptography" in found
    assert found - {"cryptography"} <= sys.stdlib_module_names


def test_constants_are_those_of_the_project():
    from governance import canonical as json_form
    from governance import permits, receipts, request_state
    from governance.log import checkpoint, entries, merkle

    assert verify.LARGEST_FILE == decision_file.LARGEST_FILE
    assert verify.LARGEST_TRUST == decision_file.LARGEST_TRUST
    assert verify.LARGEST_NOTE == checkpoint.LARGEST_NOTE
    assert verify.MOST_NOTE_LINES == checkpoint.MOST_SIGNATURES
    assert verify.LARGEST_ENTRY == entries.LARGEST_ENTRY
    assert verify.LARGEST_RECEIPT == receipts.LARGEST_RECEIPT
    assert verify.LARGEST_PERMIT == permits.LARGEST_PERMIT == decision_file.LARGEST_PERMIT
    assert verify.LARGEST_SIZE == merkle.LARGEST_SIZE
    assert verify.MOST_HASHES == merkle.MOST_HASHES
    assert verify.LARGEST_INTEGER == json_form.LARGEST_INTEGER == checkpoint.LARGEST_TIME
    assert verify.DEEPEST == json_form.DEEPEST
    assert verify.PERMIT_SECONDS == request_state.PERMIT_SECONDS
    assert verify.SKEW_SECONDS == permits.SKEW_SECONDS
    assert {*entries.KINDS} == verify.KINDS and {*entries.OUTCOMES} == verify.OUTCOMES
    assert {*entries.DIGESTS} == verify.DIGESTS and {*entries.ROLES} == verify.ROLES
    assert verify.WITNESSED == decision_file.WITNESSED


@pytest.mark.parametrize("number", range(len(FILES)))
def test_files_of_all_kinds_of_use_are_accepted(number):
    assert failed_checks(FILES[number].to_bytes()) == []
    assert failed_checks(json.dumps(FILES[number].model_dump(mode="json"), indent=2).encode()) == []


def run(folder, *arguments):
    """Run a copy of verify.py that cannot import this project, and return status and lines."""
    shutil.copy(ROOT / "verify.py", folder / "verify.py")
    done = subprocess.run(
        [sys.executable, "-I", "verify.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()


def test_command_prints_a_line_for_each_check_and_exits_with_the_verdict(tmp_path):
    (tmp_path / "keys.json").write_bytes(TRUST.to_bytes())
    (tmp_path / "decision.json").write_bytes(DECIDE.to_bytes())
    status, lines = run(tmp_path, "decision.json", "--trust", "keys.json")
    assert status == 0 and len(lines) == 9 and all(line.startswith("ok ") for line in lines)
    entry = {**DECIDE.entry, "time": "2026-11-29T06:28:01Z"}
    (tmp_path / "decision.json").write_bytes(changed(DECIDE, entry=entry))
    status, lines = run(tmp_path, "decision.json", "--trust", "keys.json")
    assert status == 1 and any(line.startswith("FAILED") for line in lines)
    status, lines = run(tmp_path, "missing.json", "--trust", "keys.json")
    assert status == 1 and "cannot be read" in lines[0]


def test_texts_of_a_file_do_not_reach_the_terminal_as_control_codes(tmp_path, capsys):
    (tmp_path / "keys.json").write_bytes(TRUST.to_bytes())
    (tmp_path / "decision.json").write_bytes(b'{"\xc2\x9b2J\\u001b[2J":1.5}')
    path = str(tmp_path / "decision.json")
    assert verify.main([path, "--trust", str(tmp_path / "keys.json")]) == 1
    printed = capsys.readouterr().out
    assert printed.isascii() and printed.removesuffix("\n").isprintable()


# Random changes


def places(value, path=()):
    """Yield the path of every value inside a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in items:
        yield (*path, name)
        if isinstance(each, dict | list):
            yield from places(each, (*path, name))


ODD = [None, True, False, 0, 1, -1, 2**53, 1.0, "", "x", "0" * 64, [], {}, [[]], "\ud800", "\x00"]


def randomly_changed(draw, document, other):
    """Return a document with one to three random changes, some with parts of another document."""
    document = copy.deepcopy(document)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        *path, last = draw.choice(list(places(document)))
        inside = document
        for name in path:
            inside = inside[name]
        value, kind = inside[last], draw.randrange(6)
        if kind == 0:
            inside[last] = draw.choice(ODD)
        elif kind == 1:
            del inside[last]
        elif kind == 2 and isinstance(value, str) and value:
            place = draw.randrange(len(value))
            inside[last] = value[:place] + draw.choice("0aZ.=\n— ") + value[place + 1 :]
        elif kind == 3 and isinstance(inside, list):
            inside.insert(draw.randrange(len(inside) + 1), draw.choice([value, *inside, "x"]))
        elif kind == 4 and isinstance(inside, dict):
            inside[draw.choice(["more", "proof", "least", "result"])] = value
        else:
            from_other = other
            for name in (*path, last):
                try:
                    from_other = from_other[name]
                except (KeyError, IndexError, TypeError):
                    from_other = None
            inside[last] = from_other
    return document


def test_both_verifiers_agree_on_randomly_changed_files():
    draw, verdicts = random.Random(20261129), []
    documents = [file.model_dump(mode="json") for file in FILES]
    keys = TRUST.model_dump(mode="json")
    for number in range(500):
        file, trusted = draw.choice(documents), keys
        if number % 5 == 0:
            trusted = randomly_changed(draw, keys, keys)
        else:
            file = randomly_changed(draw, file, draw.choice(documents))
        data, trusted = json.dumps(file).encode(), json.dumps(trusted).encode()
        by_project = accepted_by_project(data, trusted)
        by_file = all(passed for passed, _, _ in verify.check_decision(data, trusted))
        assert by_project == by_file, (data, trusted)
        verdicts.append(by_project)
        if by_project and number % 5:  # only changes that leave the same document are accepted
            assert any(json.loads(data) == document for document in documents)
    assert 0 < sum(verdicts) < 150


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b"NaN",
        DECIDE.to_bytes().replace(b'"program":', b'"program":null,"program":', 1),
        DECIDE.to_bytes() + b" " * decision_file.LARGEST_FILE,
    ],
)
def test_malformed_files_are_refused(data):
    assert failed_checks(data) == ["file"]


# Attacks


def test_missing_or_foreign_keys_are_refused():
    other = public_of("stranger").hex()
    assert failed_checks(DECIDE.to_bytes(), keys_with(owners={"x": other})) == ["receipts"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(owners={})) == ["receipts"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(witnesses={})) == ["witness"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(witnesses={"x": other})) == ["witness"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners={})) == ["cosignatures"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners={"x": other})) == ["cosignatures"]
    log = {"origin": ORIGIN, "key": other}
    assert failed_checks(DECIDE.to_bytes(), keys_with(log=log)) == ["checkpoint", "inclusion"]
    log = {"origin": ORIGIN, "key": TRUST.cosigners["bank"]}
    assert failed_checks(DECIDE.to_bytes(), keys_with(log=log)) == ["file"]
    double = {"a": TRUST.cosigners["bank"], "b": TRUST.cosigners["bank"]}
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners=double)) == ["file"]


def test_threshold_of_cosigners():
    more = {**TRUST.cosigners, "absent": public_of("stranger").hex()}
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners=more)) == ["cosignatures"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners=more, least=3)) == []
    assert failed_checks(DECIDE.to_bytes(), keys_with(cosigners=more, least=5)) == ["cosignatures"]
    assert failed_checks(DECIDE.to_bytes(), keys_with(least=0)) == ["file"]


def test_log_that_rewrites_an_entry_lacks_the_cosignatures():
    """The log's operator can compute every hash again and sign, but not for the cosigners."""
    log = a_log(2)
    index = next(iter(log.uses))
    use = log.uses[index]
    forged = make_entry(use.entry.seconds, use.grants, use.program, use.statement, "0" * 64)
    log.entries[index] = forged.to_bytes()
    log.store.nodes.clear()
    entries, log.entries = log.entries, []
    for each in entries:
        append(log.store, len(log.entries), [verify.leaf_hash(each)])
        log.entries.append(each)
    note = log.head()
    proof = tuple(each.hex() for each in inclusion_proof(log.store, index, len(entries)))
    file = changed(
        log.decision_file(index),
        entry=forged.to_json(),
        inclusion=Inclusion(index=index, hashes=proof).model_dump(mode="json"),
        checkpoint=note.text(),
    )
    expected = ["log entry"] if use.statement else []
    assert failed_checks(file) == [*expected, "cosignatures"]
    # Control: with cosigners that sign whatever the log shows, only the statement is against it.
    lines = [cosignature(note.body, name, key_of(f"cosigner {name}"), START) for name in COSIGNERS]
    careless = json.loads(file) | {"checkpoint": note.with_lines(lines).text()}
    assert failed_checks(canonical(careless)) == expected


def use_of(action, seed=5, run=None):
    return a_use(action, START + 9000, random.Random(seed), run)


def test_permit_and_receipt_of_different_requests_are_refused():
    one, two = use_of("statistic", 1), use_of("statistic", 2)
    mixed = one.grants[0].model_copy(update={"permit": two.grants[0].permit})
    file = relogged(with_grants(one, [mixed], program=two.program))
    assert failed_checks(file.to_bytes()) == ["permits"]
    assert failed_checks(relogged(one).to_bytes()) == []  # control


def issued(use, owner, **changes):
    """Return a use whose first permit the owner issues anew, with other claims."""
    grant, seconds = use.grants[0], use.entry.seconds
    members = {
        "iss": owner,
        "sub": grant.receipt["triseal:request"],
        "aud": ORIGIN,
        "action": "statistic",
        "program": use.program,
    }
    lifetime = changes.pop("lifetime", (seconds - 10, 60))
    claims = Use(**{**members, **changes})
    permit = issue(key_of(f"owner {owner}"), claims, *lifetime)
    return with_grants(use, [grant.model_copy(update={"permit": permit}), *use.grants[1:]])


@pytest.mark.parametrize(
    ("owner", "changes", "failed"),
    [
        ("applicant", {}, []),
        ("bank", {}, ["permits"]),
        ("applicant", {"sub": "0" * 64}, ["permits"]),
        ("applicant", {"program": "0" * 64}, ["program"]),
        ("applicant", {"program": None}, ["program"]),
        ("applicant", {"action": "decide"}, ["witness"]),
        ("applicant", {"inputs": {"bank/encrypted_inputs": "0" * 64}}, ["permits"]),
        ("applicant", {"lifetime": (START + 8000, 300)}, ["permits"]),
        ("applicant", {"lifetime": (START + 9100, 300)}, ["permits"]),
    ],
)
def test_permit_must_be_for_this_use(owner, changes, failed):
    """All of them are signed by owners, logged and cosigned."""
    file = relogged(issued(use_of("statistic"), owner, **changes))
    assert failed_checks(file.to_bytes()) == failed


@pytest.mark.parametrize(("run", "other"), [("reasons", None), (None, "reasons")])
def test_permits_for_reasons_are_for_no_explanation(run, other):
    """Both are the action `explain`; only the claim `run` and the statement name the program."""
    use, owners = use_of("explain", run=run), ("applicant", "bank", "credit_agency")

    def granted(count, permitted):
        """Return the check's faults with permits of the first owners for the program permitted."""
        changes = {"action": "explain", "inputs": {}, "run": permitted}
        alone = [with_grants(use, [grant]) for grant in use.grants[:count]]
        made = [
            issued(one, owner, **changes).grants[0]
            for one, owner in zip(alone, owners[:count], strict=True)
        ]
        file = relogged(with_grants(use, [*made, *use.grants[count:]]))
        return failed_checks(file.to_bytes())

    assert granted(3, run) == []
    assert granted(1, other) == ["permits"]
    assert granted(3, other) == ["program"]


def test_receipt_that_says_that_consent_was_withdrawn_is_refused():
    from governance.canonical import signed
    from governance.receipts import DOMAIN

    use = use_of("statistic")
    for status, failed in (("dpv:ConsentWithdrawn", ["receipts"]), ("dpv:ConsentGiven", [])):
        content = {**use.grants[0].receipt, "dpv:hasConsentStatus": status}
        receipt = signed(key_of("owner applicant"), DOMAIN, content)
        grants = [use.grants[0].model_copy(update={"receipt": receipt})]
        assert failed_checks(relogged(with_grants(use, grants)).to_bytes()) == failed


def test_owner_cannot_be_left_out_or_counted_twice():
    use = use_of("decide")
    fewer = changed(relogged(use), grants=[g.model_dump(mode="json") for g in use.grants[:2]])
    assert failed_checks(fewer) == ["log entry"]
    one, two = use_of("statistic", 5), use_of("statistic", 6)
    first, second = one.grants[0], issued(two, "applicant", program=one.program).grants[0]
    assert failed_checks(relogged(with_grants(one, [first, second])).to_bytes()) == ["receipts"]


def test_statement_of_another_application_or_result_is_refused():
    use, other = use_of("decide", 5), use_of("decide", 6)
    statement = other.statement.model_dump(mode="json")
    assert "permits" in failed_checks(changed(relogged(use), statement=statement))
    # A result that the witness has not signed, logged as such.
    forged = use.statement.model_copy(update={"result": "0" * 64})
    entry = make_entry(use.entry.seconds, use.grants, use.program, forged, "0" * 64)
    file = relogged(LoggedUse(use.grants, use.program, forged, entry))
    assert failed_checks(file.to_bytes()) == ["witness"]


def test_statement_cannot_be_left_out():
    use = use_of("explain")
    entry = make_entry(use.entry.seconds, use.grants, use.program, None, "0" * 64)
    file = relogged(LoggedUse(use.grants, use.program, None, entry))
    assert "permits" in failed_checks(file.to_bytes())


def test_entry_of_another_kind_is_no_use():
    use = use_of("statistic")
    for kind, outcome in (("permit", "done"), ("use", "failed")):
        found = use.entry.to_json() | {"kind": kind, "outcome": outcome}
        entry = type(use.entry).from_json(found)
        file = relogged(LoggedUse(use.grants, use.program, None, entry))
        assert failed_checks(file.to_bytes()) == ["log entry"]


def test_header_of_a_permit_cannot_choose_how_it_is_verified():
    import base64

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    use = use_of("statistic")
    _, claims, _ = use.grants[0].permit.split(".")
    key = key_of("owner applicant")
    header = {"alg": "EdDSA", "kid": public_of("owner applicant").hex()}
    for more in ({"typ": "JWT"}, {}, {"typ": "triseal-permit+jwt", "crit": ["b64"], "b64": False}):
        start = f"{encoded(canonical({**header, **more}))}.{claims}"
        permit = f"{start}.{encoded(key.sign(start.encode()))}"
        grants = [use.grants[0].model_copy(update={"permit": permit})]
        assert failed_checks(relogged(with_grants(use, grants)).to_bytes()) == ["permits"]
    for alg in ("none", "HS256"):
        start = (
            f"{encoded(canonical({**header, 'alg': alg, 'typ': 'triseal-permit+jwt'}))}.{claims}"
        )
        permit = f"{start}.{encoded(key.sign(start.encode()))}"
        grants = [use.grants[0].model_copy(update={"permit": permit})]
        assert failed_checks(relogged(with_grants(use, grants)).to_bytes()) == ["permits"]


# Two checkpoints


def compared(earlier, later, proof=None):
    proof = None if proof is None else canonical({"hashes": [each.hex() for each in proof]})
    checks = verify.check_checkpoints(
        earlier.text().encode(), later.text().encode(), proof, TRUST.to_bytes()
    )
    *_, (passed, name, found) = checks
    return passed, f"{name}: {found}"


def test_grown_log_needs_its_proof():
    first, *_, last = LOG.notes
    sizes = [Checkpoint.parse(note.body).size for note in (first, last)]
    proof = consistency_proof(LOG.store, *sizes)
    assert compared(first, last, proof) == (True, "grown: the first 15 of 60 entries are unchanged")
    assert compared(first, first)[0]
    assert compared(first, last) == (
        False,
        "checkpoints: give --proof, a consistency proof, to show that the log only grew",
    )
    for wrong in ([], proof[:-1], [*proof, proof[0]], [bytes(32), *proof[1:]]):
        assert not compared(first, last, wrong)[0]


def test_fork_and_rollback_are_named(tmp_path):
    first, *_, last = LOG.notes
    forked = sign_checkpoint(Checkpoint(ORIGIN, 60, bytes(32)), key_of("log"))
    assert "a fork: two different logs of 60" in compared(last, forked)[1]
    assert "rolled back from 60 to 15" in compared(last, first)[1]
    (tmp_path / "keys.json").write_bytes(TRUST.to_bytes())
    for name, note in (("a", last), ("b", forked)):
        (tmp_path / name).write_bytes(note.text().encode())
    status, lines = run(tmp_path, "--checkpoints", "a", "b", "--trust", "keys.json")
    assert status == 1 and "a fork" in lines[-1]


def test_checkpoint_that_the_log_has_not_signed_is_no_evidence():
    stranger = sign_checkpoint(Checkpoint(ORIGIN, 60, bytes(32)), key_of("stranger"))
    assert "not signed by the log" in compared(LOG.notes[-1], stranger)[1]
