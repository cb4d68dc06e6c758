"""The files of a policy: reading, validation, versions and changes.

A folder has rules in Cedar (`*.cedar`), `obligations.json`, and one `<schema name>.json` for each
schema with the categories of its fields. The Cedar schema is part of this program: the folder of
the shipped policies holds it, and no other folder may have its own.

Every rule has the annotations `@id`, unique in all files, and `@reason`, in words. Every permitting
rule has obligations. Rules name only partner types, categories, purposes, schemas and fields that
exist, which Cedar's own validation does not check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cedarpy
from cedarpy import pst
from pydantic import BaseModel, ValidationError

from governance import obligations
from governance.access import ACTIONS, PARTNER_TYPES
from governance.categories import CATEGORIES, FieldMap
from governance.obligations import MOST_RULES, ObligationsFile, RuleObligations
from governance.policy_texts import (
    CEDAR_SCHEMA,
    EARLIER,
    MOST_BYTES,
    MOST_FILES,
    NAME,
    SHIPPED,
    read_folder,
    read_text,
    version_of,
)
from governance.purposes import PURPOSES
from utils.atomic_files import private_folder, write_atomic, write_new
from utils.errors import PolicyInvalid
from utils.file_lock import HeldLock, hold_lock
from utils.strict_json import parse_json

MOST_EARLIER_BYTES = MOST_FILES * MOST_BYTES * 2
_LOCK = ".lock"
_RULE_ID = re.compile(r"[a-z][a-z0-9-]{0,63}")
_VERSION = re.compile(r"[0-9a-f]{64}")
_LONGEST_REASON = 300
# What a statement of a Cedar file consists of: comments and strings may contain semicolons.
_PART = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|[^;"/]+|.', re.DOTALL)

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Rule:
    """A rule: its id, reason in words, effect, file and first line, and the entities it names."""

    id: str
    reason: str
    permits: bool
    file: str
    line: int
    fields: frozenset[str]


@dataclass(frozen=True)
class PolicyFiles:
    """The validated content of a policy. `texts` are the files without the Cedar schema, sorted."""

    texts: Mapping[str, str]
    rules: Mapping[str, Rule]
    obligations: Mapping[str, RuleObligations]
    maps: Mapping[str, FieldMap]
    cedar_schema: str
    version: str

    @property
    def cedar(self) -> str:
        """All rules as one text."""
        return _joined(self.texts)


def load_texts(texts: Mapping[str, str], source: str = "") -> PolicyFiles:
    """Return the validated files. `source`, such as a folder, begins every place in an error.

    Raises PolicyInvalid with file and line.
    """
    texts = dict(sorted(texts.items()))
    prefix = f"{source.rstrip('/')}/" if source else ""
    if not 0 < len(texts) <= MOST_FILES:
        raise PolicyInvalid(
            f"{source or 'The policy'} has {len(texts)} policy files; it needs 1 to {MOST_FILES}."
        )
    for name, text in texts.items():
        if not NAME.fullmatch(name):
            raise PolicyInvalid(f"{name[:80]!r} is not the name of a policy file: 40-own.cedar is.")
        if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
            raise PolicyInvalid(f"{prefix}{name} has more than {MOST_BYTES} bytes; divide it.")
    maps = _field_maps(texts, prefix)
    rules = _rules(texts, prefix, maps)
    cedar_schema = read_text(SHIPPED / CEDAR_SCHEMA)
    _validate_by_schema(texts, prefix, rules, cedar_schema)
    return PolicyFiles(
        texts=texts,
        rules=rules,
        obligations=_obligations(texts, prefix, rules),
        maps=maps,
        cedar_schema=cedar_schema,
        version=version_of({**texts, CEDAR_SCHEMA: cedar_schema}),
    )


def load_folder(folder: Path) -> PolicyFiles:
    """Return the validated files of a folder; raises PolicyInvalid with file and line."""
    return load_texts(read_folder(folder), str(folder))


def copy_shipped(folder: Path) -> str:
    """Copy the shipped policies to a folder that has none, and return the folder's version.

    A copy that was interrupted is finished. Otherwise nothing is written: neither files that the
    folder has nor files that were removed. Raises PolicyInvalid and OSError.
    """
    private_folder(folder)
    with closing(_locked(folder)):
        if obligations.FILE not in read_folder(folder):
            shipped = read_folder(SHIPPED)
            for name in sorted(shipped, key=lambda each: each == obligations.FILE):  # it last
                write_new(folder / name, shipped[name].encode())
        return load_folder(folder).version


def apply_change(folder: Path, name: str, text: str | None) -> str:
    """Replace, add or (with None) remove one file, and return the policy's new version.

    The whole policy is validated with the change first, and then replaced atomically. The earlier
    version is kept in `earlier/<version>.json`. Raises PolicyInvalid, DataFolderInUse if another
    change is being made, and OSError.
    """
    with closing(_locked(folder)):
        texts = read_folder(folder)
        before = load_texts(texts, str(folder))
        if text is None:
            if texts.pop(name, None) is None:
                raise PolicyInvalid(f"The policy has no file {name[:80]!r} to remove.")
        else:
            texts[name] = text
        after = load_texts(texts)
        kept = private_folder(folder / EARLIER) / f"{before.version}.json"
        everything = {**before.texts, CEDAR_SCHEMA: before.cedar_schema}
        write_atomic(kept, json.dumps(everything, ensure_ascii=False).encode())
        if text is None:
            (folder / name).unlink()
        else:
            write_atomic(folder / name, text.encode())
        return after.version


def earlier_texts(folder: Path, version: str) -> dict[str, str]:
    """Return all files of an earlier version, the Cedar schema included.

    Raises PolicyInvalid if there is no such version, or if its file was altered.
    """
    if not _VERSION.fullmatch(version):
        raise PolicyInvalid("A policy version is 64 hexadecimal digits.")
    path = folder / EARLIER / f"{version}.json"
    try:
        with path.open("rb") as file:
            data = file.read(MOST_EARLIER_BYTES + 1)
        texts = parse_json(data) if len(data) <= MOST_EARLIER_BYTES else None
    except FileNotFoundError as error:
        raise PolicyInvalid(f"{folder} has no earlier policy {version}.") from error
    except (OSError, ValueError) as error:
        raise PolicyInvalid(f"{path} cannot be read: {error}.") from error
    if isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()):
        found: dict[str, str] = texts
        if version_of(found) == version:
            return found
    raise PolicyInvalid(f"{path} was altered: its content has another version.")


def _locked(folder: Path) -> HeldLock:
    try:
        return hold_lock(
            folder / _LOCK,
            f"Another change of the policies in {folder} is being made; try again.",
            seconds=2.0,
        )
    except FileNotFoundError as error:
        raise PolicyInvalid(f"{folder} is not a folder of policies.") from error


def _field_maps(texts: Mapping[str, str], prefix: str) -> dict[str, FieldMap]:
    maps: dict[str, FieldMap] = {}
    for name, text in texts.items():
        if name.endswith(".json") and name != obligations.FILE:
            found = _parsed(FieldMap, prefix + name, text)
            if f"{found.name}.json" != name:
                raise PolicyInvalid(
                    f"{prefix}{name}, line {_line_of(text, ('name',))}: the file of the schema "
                    f"{found.name} must be called {found.name}.json."
                )
            maps[found.name] = found
    return maps


def _obligations(
    texts: Mapping[str, str], prefix: str, rules: Mapping[str, Rule]
) -> dict[str, RuleObligations]:
    where = prefix + obligations.FILE
    text = texts.get(obligations.FILE)
    if text is None:
        raise PolicyInvalid(f"{where} is missing: it has the obligations of every rule.")
    found = _parsed(ObligationsFile, where, text).rules
    for name in found:
        if name not in rules or not rules[name].permits:
            raise PolicyInvalid(
                f"{where}, line {_line_of(text, ('rules', name))}: no rule that permits has the "
                f"id {name[:64]!r}."
            )
    for rule in rules.values():
        if rule.permits and rule.id not in found:
            raise PolicyInvalid(
                f"{prefix}{rule.file}, line {rule.line}: the rule {rule.id} permits, but "
                f"{obligations.FILE} has no obligations for it."
            )
    return found


def _rules(texts: Mapping[str, str], prefix: str, maps: Mapping[str, FieldMap]) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for name, text in texts.items():
        if not name.endswith(".cedar"):
            continue
        for line, statement in _statements(text):
            where = f"{prefix}{name}, line {line}"
            rule = _rule(where, name, line, statement, maps)
            if rule.id in rules:
                first = rules[rule.id]
                raise PolicyInvalid(
                    f"{where}: the id {rule.id} is also that of the rule in {first.file}, line "
                    f"{first.line}; give each rule its own."
                )
            rules[rule.id] = rule
    if not 0 < len(rules) <= MOST_RULES:
        raise PolicyInvalid(
            f"The policy has {len(rules)} rules in its .cedar files; it needs 1 to {MOST_RULES}."
        )
    return rules


def _rule(where: str, file: str, line: int, text: str, maps: Mapping[str, FieldMap]) -> Rule:
    try:
        parsed = cedarpy.PolicySet.from_str(text).to_pst()
    except ValueError as error:
        raise PolicyInvalid(f"{where}: the rule cannot be read: {error}.") from error
    if parsed.templates or len(parsed.static_policies) != 1:
        raise PolicyInvalid(
            f"{where}: this is not one complete rule; write `permit (…) …;` or `forbid (…) …;`, "
            "without ?principal or ?resource."
        )
    (policy,) = parsed.static_policies.values()
    name, reason = policy.annotations.get("id", ""), policy.annotations.get("reason", "")
    if not _RULE_ID.fullmatch(name):
        raise PolicyInvalid(
            f'{where}: begin the rule with @id("…"), of lower-case letters, digits and hyphens.'
        )
    if not 0 < len(reason.strip()) <= _LONGEST_REASON or not reason.isprintable():
        raise PolicyInvalid(
            f'{where}: the rule {name} needs @reason("…"), a sentence of at most '
            f"{_LONGEST_REASON} characters that is shown to people."
        )
    if unknown := set(policy.annotations) - {"id", "reason"}:
        raise PolicyInvalid(
            f"{where}: the rule {name} has an unknown annotation @{min(unknown)[:40]}; only @id "
            "and @reason have a meaning."
        )
    named = pst.entity_uids(policy)
    for uid in sorted(named, key=str):
        _require_known(f"{where}: the rule {name}", uid, maps)
    fields = frozenset(uid.id for uid in named if str(uid.type) == "Field")
    return Rule(name, reason, policy.effect == "permit", file, line, fields)


def _require_known(where: str, uid: pst.EntityUid, maps: Mapping[str, FieldMap]) -> None:
    known: dict[str, tuple[str, ...]] = {
        "Action": ACTIONS,
        "Category": tuple(CATEGORIES),
        "PartnerType": PARTNER_TYPES,
        "Purpose": tuple(PURPOSES),
        "Schema": tuple(maps),
    }
    kind = str(uid.type)
    if kind in known and uid.id not in known[kind]:
        raise PolicyInvalid(
            f"{where} names the unknown {kind} {uid.id[:64]!r}. Use one of "
            f"{', '.join(known[kind])}."
        )
    if kind == "Field":
        schema, _, field = uid.id.partition("/")
        if schema not in maps or field not in maps[schema].fields:
            raise PolicyInvalid(
                f"{where} names the unknown Field {uid.id[:130]!r}. Write `schema/field`, of a "
                "schema and field that a .json file beside the rules has."
            )


def _validate_by_schema(
    texts: Mapping[str, str], prefix: str, rules: Mapping[str, Rule], cedar_schema: str
) -> None:
    result = cedarpy.validate_policies(_joined(texts), cedar_schema)
    if result.validation_passed:
        return
    first = result.errors[0]
    name = result.id_annotations_by_policy_id.get(first.policy_id, "")
    rule = rules.get(name)
    where = f"{prefix}{rule.file}, line {rule.line}: the rule {name}" if rule else "The policy"
    reason = first.error.replace(f"for policy `{first.policy_id}`, ", "")
    raise PolicyInvalid(f"{where} does not fit {CEDAR_SCHEMA}: {reason}.")


def _joined(texts: Mapping[str, str]) -> str:
    # A line feed ends a comment in a file's last line.
    return "\n".join(text for name, text in texts.items() if name.endswith(".cedar"))


def _statements(text: str) -> list[tuple[int, str]]:
    """Return the statements of a Cedar file, each with the line where it begins."""
    found: list[tuple[int, str]] = []
    line, start = 1, 0
    parts: list[str] = []
    for match in _PART.finditer(text):
        part = match[0]
        if not start and not part.startswith("//") and part.strip():
            start = line + part[: len(part) - len(part.lstrip())].count("\n")
        parts.append(part)
        line += part.count("\n")
        if part == ";":
            found.append((start, "".join(parts)))
            start, parts = 0, []
    if start:
        found.append((start, "".join(parts)))
    return found


def _parsed(model: type[ModelT], where: str, text: str) -> ModelT:
    try:
        parse_json(text.encode())  # refuses a name that occurs twice
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        name = ".".join(str(each) for each in place)[:160]
        raise PolicyInvalid(
            f"{where}, line {_line_of(text, place)}: {name}: {first['msg']}."
        ) from error
    except json.JSONDecodeError as error:
        raise PolicyInvalid(f"{where}, line {error.lineno}: {error.msg}.") from error
    except ValueError as error:
        twice = re.match(r"'(.*)' occurs twice", str(error))
        line = text[: text.rfind(json.dumps(twice[1]))].count("\n") + 1 if twice else 1
        raise PolicyInvalid(f"{where}, line {line}: {error}.") from error


def _line_of(text: str, place: tuple[int | str, ...]) -> int:
    """Return the line of the last name in `place` that the text has, or 1."""
    position = 0
    for each in place:
        found = text.find(f"{json.dumps(each, ensure_ascii=False)}", position)
        if isinstance(each, str) and found >= 0:
            position = found
    return text.count("\n", 0, position) + 1
