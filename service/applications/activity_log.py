"""The record of what travelled in an application: who, to whom, what, when, how large.

Metadata alone; whoever runs the server sees it anyway, and the parties and the opener may see it
too. One list with one numbering a application, so that what came first can be told.
"""

from __future__ import annotations

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from contract.http import Traffic, TrafficItem, moment
from service.storage.tables import TrafficRecord, table_of

SERVER = "server"
Way = tuple[str, str | None]
"""Sender and receiver; None stands for all parties."""
MAXIMUM_NOTES = 2000
"""Rows of one application from which on uploads, runs and fetches are no longer noted."""


def next_number(session: Session, client_id: str) -> int:
    """The next number of an application; hold the only writing session until it is used."""
    last = select(func.max(TrafficRecord.number)).where(TrafficRecord.client_id == client_id)
    return (session.scalar(last) or 0) + 1


def note(session: Session, client_id: str, at: float, way: Way, what: str, size: int) -> None:
    """Note that something travelled to or from the server; `at` in seconds since 1970.

    Uploads and failed runs may be repeated without end, so it stops at MAXIMUM_NOTES.
    """
    number = next_number(session, client_id)
    if number <= MAXIMUM_NOTES:
        row = {
            "client_id": client_id,
            "number": number,
            "at": at,
            "sender": way[0],
            "receiver": way[1],
            "what": what,
            "size": size,
        }
        session.execute(insert(table_of(TrafficRecord)), row)


def fetched(session: Session, client_id: str, party: str, what: str) -> bool:
    """Whether it has been noted that this party fetched this."""
    found = select(TrafficRecord.number).where(
        TrafficRecord.client_id == client_id,
        TrafficRecord.sender == SERVER,
        TrafficRecord.receiver == party,
        TrafficRecord.what == what,
    )
    return session.scalar(found.limit(1)) is not None


def traffic_of(session: Session, client_id: str) -> Traffic:
    """All of it, oldest first, without any content."""
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
