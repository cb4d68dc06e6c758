"""Refusals of steps on a party's page, shown next to the button until their cause has gone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from features.schema import Schema
from parties.agent import ApplicationAgent
from ui.error_words import UNEXPECTED, UNEXPECTED_DETAIL, ErrorWords, error_words, words_html
from utils.errors import TrisealError


@dataclass(frozen=True)
class Refusal:
    """Why a step could not be taken.

    `serial` is that of the application and `values` are the fields at that moment; `at` is by the
    monotonic clock.
    """

    words: ErrorWords
    serial: int
    values: tuple[Any, ...]
    at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        error: Exception,
        schema: Schema,
        application: ApplicationAgent | None,
        values: tuple[Any, ...] = (),
    ) -> Refusal:
        """Return the refusal for an error, which is described in general if it is unexpected."""
        serial = 0 if application is None else application.serial
        if isinstance(error, TrisealError):
            return cls(error_words(error, schema), serial, values)
        return cls(ErrorWords(UNEXPECTED, UNEXPECTED_DETAIL), serial, values)

    def is_moot(self, application: ApplicationAgent | None, values: tuple[Any, ...] | None) -> bool:
        """Return True if the cause has gone; `values` are the fields now, None if unknown.

        A refusal because of the fields lasts until they change, one because of the server until it
        can be reached again, and any other until the application has gone on.
        """
        if self.values:
            return values is not None and values != self.values
        if application is None:
            return False
        if self.words.temporary:
            return application.heard > self.at
        return application.serial != self.serial

    @property
    def html(self) -> str:
        """The refusal for the place next to the button; a pop-up could be out of sight."""
        return words_html(self.words)
