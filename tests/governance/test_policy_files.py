"""Policy files are refused with file and line, and change atomically under a new version."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from governance import policy_files
from governance.policy import Policies
from governance.policy_command import main
from governance.policy_files import (
    apply_change,
    copy_shipped,
    earlier_texts,
    load_folder,
    load_texts,
)
from governance.policy_texts import SHIPPED, read_folder, version_of
from settings import ROOT
from utils.errors import DataFolderInUse, PolicyInvalid
from utils.file_lock import hold_lock

GOOD = (
    '// a; comment\n\n@id("mine")\n@reason("A; reason.")\nforbid (principal, action, resource);\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_shipped(tmp_path / "policies")
    return tmp_path / "policies"


def test_shipped_policies_are_valid_and_have_reasons() -> None:
    assert main(["check"]) == 0
    files = load_folder(SHIPPED)
    assert {rule.id for rule in files.rules.values() if rule.permits} == set(files.obligations)
    for rule in files.rules.values():
        assert rule.reason.endswith(".")
        line = files.texts[rule.file].splitlines()[rule.line - 1]
        assert line == f'@id("{rule.id}")'


def test_version_is_that_of_the_documented_formula(folder) -> None:
    found = hashlib.sha256()
    names = [p.name for p in SHIPPED.iterdir() if p.is_file()]
    for name in sorted(names):
        data = (SHIPPED / name).read_bytes()
        found.update(name.encode() + b"\0" + str(len(data)).encode() + b"\0" + data)
    assert Policies.load().version == Policies.load(folder).version == found.hexdigest()


def test_version_depends_on_how_bytes_are_divided_into_files() -> None:
    assert version_of({"a": "bc"}) != version_of({"ab": "c"}) != version_of({"a": "", "b": "c"})


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + GOOD, 8, "also that of the rule in 50-mine.cedar, line 3"),
        (GOOD.replace('@id("mine")', ""), 4, "@id"),
        (GOOD.replace("mine", "Mine!"), 3, "lower-case"),
        (GOOD.replace('@reason("A; reason.")', ""), 3, "@reason"),
        (GOOD.replace("A; reason.", " "), 3, "@reason"),
        (GOOD.replace("A; reason.", r"A\u{1b} reason."), 3, "@reason"),
        (GOOD.replace("A; reason.", "x" * 301), 3, "at most 300"),
        (GOOD.replace("@reason", "@reasons"), 3, "@reason"),
        (GOOD.replace("@reason", '@note("x") @reason'), 3, "@note"),
        (GOOD + "// end\nforbid (principal, action", 7, "cannot be read"),
        (GOOD + ";", 6, "cannot be read"),
        (GOOD + "}", 6, "cannot be read"),
        (GOOD.replace(", action,", ""), 3, "cannot be read"),
        (GOOD.replace("principal,", "principal == ?principal,"), 3, "not one complete rule"),
        (GOOD.replace(");", ") when { context.hours == 1 };"), 3, "hours"),
        (GOOD.replace(");", ") when { context.hour == true };"), 3, "does not fit"),
        (GOOD.replace("resource)", 'resource in Category::"salary")'), 3, "'salary'"),
        (GOOD.replace("principal,", 'principal in PartnerType::"king",'), 3, "'king'"),
        (GOOD.replace("action,", 'action == Action::"copy",'), 3, "'copy'"),
        (GOOD.replace("resource)", 'resource in Schema::"none")'), 3, "'none'"),
        (GOOD.replace("resource)", 'resource == Field::"personal_record/x")'), 3, "'personal_rec"),
        (GOOD.replace(");", ') when { context.purpose in Purpose::"dpv:X" };'), 3, "'dpv:X'"),
        (GOOD.replace(");", ") when { " + "!" * 150 + "true };"), 3, ""),
        (GOOD.replace("forbid", "permit"), 3, "no obligations"),
        ("/" * 50, None, None),
    ],
)  # fmt: skip
def test_wrong_rule_is_refused_with_its_line(text, line, words) -> None:
    texts = {**read_folder(SHIPPED), "50-mine.cedar": text}
    if line is None:
        load_texts(texts)
        return
    with pytest.raises(PolicyInvalid) as caught:
        load_texts(texts, "my/policies")
    assert caught.value.message.startswith(f"my/policies/50-mine.cedar, line {line}: ")
    assert words in caught.value.message


def test_rule_of_the_other_file_is_fine() -> None:
    files = load_texts({**read_folder(SHIPPED), "50-mine.cedar": GOOD})
    assert files.rules["mine"].line == 3 and not files.rules["mine"].permits


def obligations(**changes) -> str:
    found = json.loads((SHIPPED / "obligations.json").read_text())
    for name, value in changes.items():
        if value is None:
            del found["rules"][name.replace("_", "-")]
        else:
            found["rules"].setdefault(name.replace("_", "-"), {}).update(value)
    return json.dumps(found, indent=1)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("obligations.json", "{", r"obligations.json, line 1: "),
        ("obligations.json", obligations(absent={}), r"obligations.json, line \d+: .*absent"),
        ("obligations.json", obligations(merchant_age=None), r"20-.*, line \d+: .*merchant-age"),
        ("obligations.json", obligations(merchant_age={"rate_per_hour": 0}), "age.*hour"),
        ("obligations.json", obligations(merchant_age={"rate_per_hour": "9"}), "age.*hour"),
        ("obligations.json", obligations(merchant_age={"least_rows": 1}), r"least_rows"),
        ("obligations.json", obligations(merchant_age={"masks": {"x": {"kind": "clear"}}}), "'x'"),
        ("obligations.json", obligations(merchant_age={"masks": {"age": {"kind": "asterisks"}}}),
         "asterisks"),
        ("obligations.json", obligations(merchant_age={"note": "x"}), "note"),
        ("obligations.json", '{"rules": {}, "rules": {}}', "twice"),
        ("personal_record.json", '{\n"name": "other",\n"title": "x", "fields": {"a": "age"}}',
         r"personal_record.json, line 2: .*other.json"),
        ("personal_record.json", '{"name": "personal_record",\n"title": "x",\n"fields": '
         '{"a": "ages"}}', r"line 3: .*ages"),
        ("personal_record.json", '{"name": "personal_record", "title": "x", "fields": {}}',
         "fields"),
        ("UPPER.cedar", GOOD, "name of a policy file"),
        ("../x.cedar", GOOD, "name of a policy file"),
        ("schema.cedarschema", "", "name of a policy file"),
        ("big.cedar", "//" + "x" * 262_144, "more than"),
    ],
)  # fmt: skip
def test_wrong_file_is_refused_and_changes_nothing(folder, name, text, place) -> None:
    before = load_folder(folder).version
    content = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(PolicyInvalid) as caught:
        apply_change(folder, name, text)
    assert re.search(place, caught.value.message)
    left = {path: path.read_bytes() for path in folder.iterdir()}
    assert left == content | {folder / ".lock": b""}
    assert load_folder(folder).version == before


def test_place_of_a_wrong_obligation_is_its_line() -> None:
    text = obligations(merchant_age={"rate_per_hour": 0})
    with pytest.raises(PolicyInvalid) as caught:
        load_texts({**read_folder(SHIPPED), "obligations.json": text})
    line = int(re.search(r"line (\d+)", caught.value.message)[1])
    assert text.splitlines()[line - 1].strip() == '"rate_per_hour": 0,'


def test_missing_obligations_and_rules_are_refused() -> None:
    texts = read_folder(SHIPPED)
    with pytest.raises(PolicyInvalid, match=r"obligations\.json is missing"):
        load_texts({n: t for n, t in texts.items() if n != "obligations.json"})
    with pytest.raises(PolicyInvalid, match="0 rules"):
        load_texts({n: t for n, t in texts.items() if not n.endswith(".cedar")})
    with pytest.raises(PolicyInvalid, match="0 policy files"):
        load_texts({})
    with pytest.raises(PolicyInvalid, match="65 policy files"):
        load_texts({f"{n}.cedar": "" for n in range(65)})


def test_change_takes_effect_and_keeps_the_earlier_version(folder) -> None:
    before = load_folder(folder)
    after = apply_change(folder, "50-mine.cedar", GOOD)
    assert after == load_folder(folder).version != before.version
    assert "mine" in load_folder(folder).rules
    kept = earlier_texts(folder, before.version)
    assert version_of(kept) == before.version and "50-mine.cedar" not in kept
    assert (folder / "50-mine.cedar").stat().st_mode & 0o777 == 0o600
    assert apply_change(folder, "50-mine.cedar", None) == before.version
    assert not (folder / "50-mine.cedar").exists()
    with pytest.raises(PolicyInvalid, match="no file"):
        apply_change(folder, "50-mine.cedar", None)


def test_altered_or_unknown_earlier_version_is_refused(folder) -> None:
    before = load_folder(folder).version
    apply_change(folder, "50-mine.cedar", GOOD)
    path = folder / "earlier" / f"{before}.json"
    path.write_text(path.read_text().replace("marketing", "marketinG", 1))
    with pytest.raises(PolicyInvalid, match="altered"):
        earlier_texts(folder, before)
    path.write_text("[]")
    with pytest.raises(PolicyInvalid, match="altered"):
        earlier_texts(folder, before)
    with pytest.raises(PolicyInvalid, match="no earlier"):
        earlier_texts(folder, "0" * 64)
    with pytest.raises(PolicyInvalid, match="64 hexadecimal"):
        earlier_texts(folder, "../" * 20)


def test_failure_between_the_two_writes_leaves_the_old_policy(folder, monkeypatch) -> None:
    before = load_folder(folder).version
    real = policy_files.write_atomic

    def fails(path, data, *mode):
        if path.name == "50-mine.cedar":
            raise OSError(28, "No space left on device")
        real(path, data, *mode)

    monkeypatch.setattr(policy_files, "write_atomic", fails)
    with pytest.raises(OSError, match="space"):
        apply_change(folder, "50-mine.cedar", GOOD)
    assert load_folder(folder).version == before


def test_one_change_at_a_time(folder, monkeypatch) -> None:
    real = policy_files.hold_lock
    monkeypatch.setattr(policy_files, "hold_lock", lambda p, why, seconds: real(p, why, 0.0))
    with hold_lock(folder / ".lock", "x"), pytest.raises(DataFolderInUse, match="try again"):
        apply_change(folder, "50-mine.cedar", GOOD)
    apply_change(folder, "50-mine.cedar", GOOD)


def test_file_of_another_kind_is_not_silently_ignored(folder) -> None:
    """A prohibition saved under a wrong name would otherwise not hold."""
    (folder / "60-more.cedar.txt").write_text(GOOD)
    with pytest.raises(PolicyInvalid, match=r"60-more\.cedar\.txt is not a policy file"):
        load_folder(folder)
    (folder / "60-more.cedar.txt").unlink()
    shutil.copy(SHIPPED / "schema.cedarschema", folder)
    with pytest.raises(PolicyInvalid, match="part of the program"):
        load_folder(folder)


def test_file_that_is_not_utf8_is_refused_with_its_line(folder) -> None:
    (folder / "60-more.cedar").write_bytes(b"// a\n// \xff\n")
    with pytest.raises(PolicyInvalid, match=r"60-more\.cedar, line 2"):
        load_folder(folder)


def test_missing_folder_is_refused(tmp_path, capsys) -> None:
    assert main(["check", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err
    with pytest.raises(PolicyInvalid, match="not a folder"):
        apply_change(tmp_path / "absent", "a.cedar", GOOD)


def test_shipped_policies_are_copied_once(folder) -> None:
    version = apply_change(folder, "50-mine.cedar", GOOD)
    (folder / "30-statistics.cedar").unlink()
    (folder / "obligations.json").write_text(
        obligations(research_statistics=None, credit_statistics=None)
    )
    assert copy_shipped(folder) != version
    assert not (folder / "30-statistics.cedar").exists()


def test_interrupted_copy_is_finished(tmp_path, monkeypatch) -> None:
    real, left = policy_files.write_new, [3]

    def stops(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(path, content)

    monkeypatch.setattr(policy_files, "write_new", stops)
    with pytest.raises(KeyboardInterrupt):
        copy_shipped(tmp_path / "policies")
    assert len([*(tmp_path / "policies").glob("*.*")]) < len(read_folder(SHIPPED))
    monkeypatch.setattr(policy_files, "write_new", real)
    assert copy_shipped(tmp_path / "policies") == Policies.load().version


def test_module_is_a_command() -> None:
    words = [sys.executable, "-m", "governance.policy", "check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and Policies.load().version in done.stdout
    assert done.stderr == ""
