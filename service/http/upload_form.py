"""Incremental parser of a multipart form (RFC 7578) with text fields and one file.

Starlette's own form parser spools the whole file before a route sees its first field. This one
returns each piece of the file at once, so that the token and the slot are checked before most of
the file is read, and the file is written and hashed only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from utils.errors import InvalidRequest, UnsupportedContent

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS = ("client_id", "client_type", "file_name")
FILE = "files"
MAXIMUM_FIELD = 256
"""Maximum bytes of a field's value; all valid values are shorter."""


class FormReader:
    """Parses one form; raises InvalidRequest unless it has exactly the fields and the file.

    The parts may come in any order; their file names and content types are ignored. Raises
    UnsupportedContent if the content type is not multipart/form-data.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise UnsupportedContent(
                f"Send a multipart/form-data form with the fields {', '.join(FIELDS)}, {FILE}."
            )
        if not options.get(b"boundary"):
            raise InvalidRequest("The form has no boundary; build it with an HTTP library.")
        self.fields: dict[str, str] = {}
        self._pieces: list[memoryview] = []
        self._seen: set[str] = set()
        self._name = ""
        self._header = bytearray()
        self._value = bytearray()
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise InvalidRequest("The form's boundary is too long.") from error

    @property
    def complete(self) -> bool:
        """True if all fields have arrived; the file may still be incomplete."""
        return len(self.fields) == len(FIELDS)

    def feed(self, chunk: bytes) -> list[memoryview]:
        """Parse a chunk of the body; return the file's bytes in it."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest("The form is malformed; build it with an HTTP library.") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """Check, at the end of the body, that the form is complete; raises InvalidRequest."""
        missing = [name for name in (*FIELDS, FILE) if name not in self._seen]
        if self._ended and not missing:
            return
        lacks = f"; it lacks {', '.join(missing)}" if missing else ""
        cut = "The form is incomplete" if self._ended else "The form was cut off before its end"
        raise InvalidRequest(f"{cut}{lacks}.")

    def _on_part_begin(self) -> None:
        self._name = ""
        self._value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value.decode("latin-1"))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        name = self._name
        if name not in (*FIELDS, FILE):
            raise InvalidRequest(
                f"The form has a part {name[:40]!r}; only {', '.join((*FIELDS, FILE))} are allowed."
            )
        if name in self._seen:
            raise InvalidRequest(f"The form has the part {name} twice.")
        self._seen.add(name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._pieces.append(memoryview(data)[start:end])  # without a copy
            return
        self._value += data[start:end]
        if len(self._value) > MAXIMUM_FIELD:
            raise InvalidRequest(f"{self._name} is longer than {MAXIMUM_FIELD} bytes.")

    def _on_part_end(self) -> None:
        if self._name == FILE:
            return
        try:
            self.fields[self._name] = self._value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self._name} is not UTF-8 text.") from error

    def _on_end(self) -> None:
        self._ended = True
