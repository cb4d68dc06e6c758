"""Refusals of steps on a party's page, shown next to the button until their cause has gone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from features.schema import Schema
from parties.agent import ApplicationAgent
from ui.error_words import UNEXPECTED, UNEXPECTED_DETAIL, ErrorWords, error_words, words_html
from utils.errors import TrisealError


@dataclass(frozen=True)
class Refusal:
    """Why a step could not be taken.

    `serial` is that of the application at that moment, and `at` is by the monotonic clock.
    `of_fields` if the values of the fields are the cause.
    """

    words: ErrorWords
    serial: int
    of_fields: bool
    at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        error: Exception,
        schema: Schema,
        application: ApplicationAgent | None,
        of_fields: bool = False,
    ) -> Refusal:
        """Return the refusal for an error, which is described in general if it is unexpected."""
        serial = 0 if application is None else application.serial
        if isinstance(error, TrisealError):
            return cls(error_words(error, schema), serial, of_fields)
        return cls(ErrorWords(UNEXPECTED, UNEXPECTED_DETAIL), serial, of_fields)

    def is_moot(self, application: ApplicationAgent | None) -> bool:
        """Return True if the cause has gone.

        A refusal because of the server lasts until it can be reached again, one because of the
        fields until they are checked again, and any other until the application has gone on.
        """
        if self.of_fields or application is None:
            return False
        if self.words.temporary:
            return application.heard > self.at
        return application.serial != self.serial

    @property
    def html(self) -> str:
        """The refusal for the place next to the button; a pop-up could be out of sight."""
        return words_html(self.words)
