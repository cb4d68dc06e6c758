"""The texts of a policy's files, and the version of a policy, without its rules' language.

A party's process names in its receipts the version of the policy that is installed with it, and the
categories that this policy gives to columns. It needs no rules for that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from governance.categories import UNCLASSIFIED, FieldMap
from utils.errors import PolicyInvalid

SHIPPED = Path(__file__).parent / "policies"
CEDAR_SCHEMA = "schema.cedarschema"
EARLIER = "earlier"
MOST_FILES = 64
MOST_BYTES = 256 * 1024
"""Most bytes of one file."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.(cedar|json)")


@dataclass(frozen=True)
class PolicyTexts:
    """The texts of a policy's files by name, and the policy's version."""

    texts: Mapping[str, str]
    version: str

    def categories_of(self, schema: str, fields: Iterable[str]) -> dict[str, str]:
        """Return the categories of fields, `unclassified` if the policy lacks the schema."""
        text = self.texts.get(f"{schema}.json")
        known = None if text is None else FieldMap.model_validate_json(text)
        return {name: known.category_of(name) if known else UNCLASSIFIED for name in fields}


@cache
def shipped_policy() -> PolicyTexts:
    """Return the policy that is installed with this program; raises PolicyInvalid."""
    texts = read_folder(SHIPPED)
    version = version_of({**texts, CEDAR_SCHEMA: read_text(SHIPPED / CEDAR_SCHEMA)})
    return PolicyTexts(texts, version)


def read_folder(folder: Path) -> dict[str, str]:
    """Return the texts of a policy's files by name, sorted; raises PolicyInvalid."""
    texts: dict[str, str] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        own = folder.resolve() == SHIPPED.resolve()
        for name in names:
            if (name == CEDAR_SCHEMA and own) or (name == EARLIER and (folder / name).is_dir()):
                continue
            if not NAME.fullmatch(name):
                raise PolicyInvalid(
                    f"{folder / name} is not a policy file. Use names such as 40-own.cedar or "
                    f"my_schema.json, and keep other files elsewhere; {CEDAR_SCHEMA} is part of "
                    "the program."
                )
            texts[name] = read_text(folder / name)
    except OSError as error:
        raise PolicyInvalid(
            f"The policies in {folder} cannot be read: {error.strerror or error}."
        ) from error
    return texts


def version_of(texts: Mapping[str, str]) -> str:
    """Return the SHA-256 of all files in the order of their names, in hexadecimal.

    Each file counts as its name, a NUL byte, its length in bytes in decimal, a NUL byte, and its
    bytes.
    """
    found = hashlib.sha256()
    for name, text in sorted(texts.items()):
        data = text.encode()
        found.update(b"%s\0%d\0" % (name.encode(), len(data)) + data)
    return found.hexdigest()


def read_text(path: Path) -> str:
    """Return a file's text of at most MOST_BYTES; raises PolicyInvalid and OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise PolicyInvalid(f"{path} has more than {MOST_BYTES} bytes; divide it.")
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PolicyInvalid(f"{path}, line {line}: this is not UTF-8; save it as such.") from error
