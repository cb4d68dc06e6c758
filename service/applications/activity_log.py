"""The log of an application's traffic: sender, receiver, kind, time and size of each item.

It holds metadata only, which the server's operator can see in any case; the parties and the opener
may read it too. Each application has one list with consecutive numbers, so the order is known.
"""

from __future__ import annotations

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from contract.http import Traffic, TrafficItem, moment
from service.storage.prepared import Prepared
from service.storage.tables import TrafficRecord, table_of

SERVER = "server"
Way = tuple[str, str | None]
"""Sender and receiver; None stands for all parties."""
MAXIMUM_NOTES = 2000
"""Rows of one application after which uploads, runs and fetches are no longer logged."""
_TRAFFIC = table_of(TrafficRecord)
_LAST = Prepared(
    select(func.max(_TRAFFIC.c.number).label("number")).where(
        _TRAFFIC.c.client_id == bindparam("client_id")
    )
)
_INSERT = Prepared(_TRAFFIC.insert())
_FETCHED = Prepared(
    select(_TRAFFIC.c.number)
    .where(
        _TRAFFIC.c.client_id == bindparam("client_id"),
        _TRAFFIC.c.sender == SERVER,
        _TRAFFIC.c.receiver == bindparam("party"),
        _TRAFFIC.c.what == bindparam("what"),
    )
    .limit(1)
)


def next_number(session: Session, client_id: str) -> int:
    """Return the next number of an application, which must be locked until the number is used."""
    return (_LAST.all(session, client_id=client_id)[0].number or 0) + 1


def note(session: Session, client_id: str, at: float, way: Way, what: str, size: int) -> None:
    """Log an item that was sent to or from the server; `at` in seconds since 1970.

    Uploads and failed runs can be repeated without limit, so logging stops at MAXIMUM_NOTES.
    """
    number = next_number(session, client_id)
    if number <= MAXIMUM_NOTES:
        _INSERT.run(
            session,
            client_id=client_id,
            number=number,
            at=at,
            sender=way[0],
            receiver=way[1],
            what=what,
            size=size,
            body=None,
        )


def fetched(session: Session, client_id: str, party: str, what: str) -> bool:
    """Return True if the log has an entry that this party fetched this item."""
    return _FETCHED.one_or_none(session, client_id=client_id, party=party, what=what) is not None


def traffic_of(session: Session, client_id: str) -> Traffic:
    """Return the whole log, oldest first, without any content."""
    columns = (
        TrafficRecord.number,
        TrafficRecord.at,
        TrafficRecord.sender,
        TrafficRecord.receiver,
        TrafficRecord.what,
        TrafficRecord.size,
    )
    rows = session.execute(
        select(*columns).where(TrafficRecord.client_id == client_id).order_by(TrafficRecord.number)
    )
    return Traffic(
        items=[
            TrafficItem(
                number=row.number,
                at=moment(row.at),
                sender=row.sender,
                receiver=row.receiver,
                what=row.what,
                bytes=row.size,
            )
            for row in rows
        ]
    )
