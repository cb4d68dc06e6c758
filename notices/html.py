"""Notices as HTML, from templates that are data.

The templates of this package may be replaced by a lender's own: files of the same names in a
folder of its own. They run in Jinja's sandbox, and everything that they show is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from notices.content import NoticeContent
from utils.errors import NoticeUnavailable

KINDS: Mapping[str, str] = {
    "us": "Adverse-action notice (USA)",
    "eu": "Explanation of the decision (EU)",
}
"""Kinds of notices, with their names for people."""
LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch"}

_MONTHS = (
    *("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September"),
    *("Oktober", "November", "Dezember"),
)


def notice_html(
    content: NoticeContent, kind: str, language: str, folder: Path | None = None
) -> str:
    """Return a notice as an HTML document of its own, without scripts or outside resources.

    Templates in `folder` come before those of this package. Raises NoticeUnavailable if there is no
    such notice, or if a template of the folder cannot be used.
    """
    if kind not in KINDS or language not in LANGUAGES:
        raise NoticeUnavailable(
            f"There is no notice {kind[:20]!r} in {language[:20]!r}; the kinds are "
            f"{', '.join(KINDS)}, the languages {', '.join(LANGUAGES)}."
        )
    name = f"{kind}.{language}.html.j2"
    try:
        template = _environment(folder).get_template(name)
        return template.render(notice=content, day=_DAYS[language], number=_NUMBERS[language])
    except (TemplateError, OSError, UnicodeDecodeError) as error:
        raise NoticeUnavailable(f"The template {name} cannot be used: {error}.") from error


def _environment(folder: Path | None) -> SandboxedEnvironment:
    own = [] if folder is None else [FileSystemLoader(folder)]
    return SandboxedEnvironment(
        loader=ChoiceLoader([*own, PackageLoader("notices")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _english(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"


def _german(day: date) -> str:
    return f"{day.day}. {_MONTHS[day.month - 1]} {day.year}"


def _english_number(text: str) -> str:
    """Group the thousands of a number: `160,000`."""
    whole, point, decimals = text.partition(".")
    return f"{int(whole):,}{point}{decimals}" if whole.isdecimal() else text


def _german_number(text: str) -> str:
    """Group the thousands of a number, with a decimal comma: `160.000`."""
    return _english_number(text).translate(str.maketrans(",.", ".,"))


_DAYS = {"en": _english, "de": _german}
_NUMBERS = {"en": _english_number, "de": _german_number}
