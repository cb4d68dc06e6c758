"""Reader of a body that is the file itself, with its slot named by the request's path."""

from __future__ import annotations

from utils.errors import UnsupportedContent

MEDIA_TYPE = "application/octet-stream"


class RawBodyReader:
    """Returns a body as it arrives; `fields` are known from the path, so nothing is parsed.

    Raises UnsupportedContent if the content type is not application/octet-stream.
    """

    complete = True

    def __init__(self, content_type: str, fields: dict[str, str]) -> None:
        if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise UnsupportedContent(f"Send the sealed message itself, as {MEDIA_TYPE}.")
        self.fields = fields

    def feed(self, chunk: bytes) -> list[memoryview]:
        """Return the chunk."""
        return [memoryview(chunk)]

    def finish(self) -> None:
        """Do nothing: HTTP itself marks the end of the body."""
