"""Rows of a data set for one recipient, masked.

A token depends on the recipient's public key, so that two partners cannot join what they got, and
the same partner recognises a value whichever way it received it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from pydantic import TypeAdapter, ValidationError

from governance.access import Verdict
from governance.datasets import DataSet
from governance.masking import OWNER_KEY_BYTES, Mask, mask, stricter
from governance.permits import Permit
from utils.errors import DataSetInvalid, PermitInvalid, PolicyDenied
from utils.strict_json import parse_json

MOST_ROWS = 1000
"""Rows of a release."""
_MASK: TypeAdapter[Mask] = TypeAdapter(Mask)


def masked_rows(
    data: DataSet, permit: Permit, verdict: Verdict, owner_key: bytes, recipient: str, now: int
) -> dict[str, Any]:
    """Return the permit's fields of one row as an object, or of several rows as `rows`.

    Each field passes through the permit's mask or the policy's, whichever releases less.
    `recipient` is the public key (hexadecimal) that tokens are for. Raises PolicyDenied for a field
    without a mask, PermitInvalid, and DataSetInvalid if there are no rows or too many.
    """
    if verdict.obligations is None:
        raise PolicyDenied("The policy does not allow the release.")
    return released(data, permit, verdict.obligations.masks, owner_key, recipient, now)


def released(
    data: DataSet,
    permit: Permit,
    own: Mapping[str, Mask],
    owner_key: bytes,
    recipient: str,
    now: int,
) -> dict[str, Any]:
    """Do the same as `masked_rows` with the owner's masks `own`."""
    if len(owner_key) < OWNER_KEY_BYTES:
        raise DataSetInvalid("The owner's masking key is too short.")
    if not 0 < len(data.rows) <= MOST_ROWS:
        raise DataSetInvalid(
            f"The data set has {len(data.rows)} rows; a release has 1 to {MOST_ROWS}."
        )
    masks = strictest(masks_of(permit), own, permit.fields)
    today = datetime.fromtimestamp(now, UTC).date()
    names = {column.name for column in data.description.columns}
    missing = [name for name in permit.fields if name not in names]
    if missing:
        raise DataSetInvalid(
            f"The data set has no column {missing[0][:64]!r}; ask for a permit without it."
        )
    rows = [
        mask({name: row[name] for name in permit.fields}, masks, owner_key, recipient, today=today)
        for row in data.rows
    ]
    return rows[0] if len(rows) == 1 else {"rows": rows}


def strictest(
    given: Mapping[str, Mask], own: Mapping[str, Mask], fields: tuple[str, ...]
) -> dict[str, Mask]:
    """Return for each field the stricter of the permit's mask and the owner's.

    Raises PolicyDenied if either has none for a field.
    """
    unmasked = [name for name in fields if name not in given or name not in own]
    if unmasked or not fields:
        name = unmasked[0][:64] if unmasked else "the record"
        raise PolicyDenied(f"No rule says how to mask {name}, so that nothing was released.")
    return {name: reduce(stricter, (given[name], own[name])) for name in fields}


def masks_of(permit: Permit) -> dict[str, Mask]:
    """Return the masks that a permit has, by field; raises PermitInvalid."""
    try:
        return {
            field: _MASK.validate_python(parse_json(text.encode()))
            for field, text in permit.masks.items()
        }
    except (ValidationError, ValueError) as error:
        raise PermitInvalid("The permit has a mask that is none; ask for a new one.") from error
