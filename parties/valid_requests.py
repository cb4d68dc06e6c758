"""Bodies of requests, checked before they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from utils.errors import InvalidRequest


@contextmanager
def valid() -> Iterator[None]:
    """Raise InvalidRequest if a request body made inside is outside the contract's bounds."""
    try:
        yield
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()[:5]
        ]
        # Without the cause, which shows the values: one may be a join code.
        raise InvalidRequest(f"The request is not valid: {'; '.join(faults)}.") from None
