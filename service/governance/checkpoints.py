"""The log's checkpoints and their cosignatures.

Cosigners fetch a checkpoint with a proof that it continues the one that they signed last, and send
the line with which they sign it. The server keeps, of every cosigner, the newest lines.
"""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from governance.log.checkpoint import Checkpoint, Note, cosigned_at
from service.governance.log import CHECKPOINTS, COSIGNATURES, newest_note
from service.storage.storage import LOG, Storage
from settings import Settings
from utils.errors import LogInconsistent, OutOfStep, ProofInvalid
from utils.witness_list import parse_witnesses

KEPT_LINES = 16
"""Cosignatures that are kept of one cosigner."""


def cosigners_of(settings: Settings) -> dict[str, bytes]:
    """Return the public keys, 32 bytes, of those whose cosignatures are accepted, by name.

    Names of cosigners have no spaces: the witness `Data Office` cosigns as `Data-Office`.
    """
    listed = settings.witnesses if settings.cosigners is None else settings.cosigners
    return {
        name.replace(" ", "-"): bytes.fromhex(key)
        for key, name in parse_witnesses(listed or "").items()
    }


def newest_checkpoint(session: Session) -> Checkpoint:
    """Return the checkpoint of the whole log; raises LogInconsistent if there is none."""
    note = newest_note(session)
    if note is None:
        raise LogInconsistent("The log has no checkpoint. Restore the database from a backup.")
    return Checkpoint.parse(note.body)


class Checkpoints:
    """The stored checkpoints; the methods are synchronous and thread-safe."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._cosigners = cosigners_of(settings)

    def note(self, *, cosigned: bool) -> Note:
        """Return the newest checkpoint, or the newest that is `cosigned`, with its cosignatures.

        Raises OutOfStep if none is cosigned yet.
        """
        with self._storage.read() as session:
            if not cosigned:
                size = newest_checkpoint(session).size
            else:
                named = COSIGNATURES.c.name.in_(list(self._cosigners))
                found = session.scalar(select(func.max(COSIGNATURES.c.size)).where(named))
                if found is None:
                    raise OutOfStep("No checkpoint of the log has been cosigned yet; try later.")
                size = found
            return self._note(session, size)

    def cosigned(self, session: Session) -> list[Note]:
        """Return all stored checkpoints that are cosigned, with their cosignatures."""
        named = COSIGNATURES.c.name.in_(list(self._cosigners))
        sizes = session.scalars(select(COSIGNATURES.c.size).where(named).distinct()).all()
        return [self._note(session, size) for size in sorted(sizes)]

    def covering(self, session: Session, number: int) -> Note | None:
        """Return the checkpoint that includes entry `number` and has most cosignatures, or None.

        Of several with as many, the newest.
        """
        named = COSIGNATURES.c.name.in_(list(self._cosigners))
        size = session.scalar(
            select(COSIGNATURES.c.size)
            .where(named, COSIGNATURES.c.size > number)
            .group_by(COSIGNATURES.c.size)
            .order_by(func.count().desc(), COSIGNATURES.c.size.desc())
            .limit(1)
        )
        return None if size is None else self._note(session, size)

    def add(self, size: int, line: str) -> None:
        """Store a cosigner's line for the checkpoint of `size` entries; it may be repeated.

        Raises OutOfStep if that checkpoint is not kept any more, ProofInvalid if the line is not a
        valid cosignature by a configured cosigner.
        """
        with self._storage.write() as session:
            self._storage.lock(session, LOG)
            text = session.scalar(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == size))
            if text is None:
                raise OutOfStep(
                    f"The server does not keep a checkpoint of {size} entries. Fetch the newest "
                    "one, and cosign that."
                )
            name, valid = self._signer(Note.parse(text), line)
            session.execute(
                delete(COSIGNATURES).where(COSIGNATURES.c.name == name, COSIGNATURES.c.size == size)
            )
            session.execute(insert(COSIGNATURES), {"name": name, "size": size, "line": valid})
            kept = (
                select(COSIGNATURES.c.size)
                .where(COSIGNATURES.c.name == name)
                .order_by(COSIGNATURES.c.size.desc())
                .limit(KEPT_LINES)
            )
            oldest = min(session.scalars(kept))
            session.execute(
                delete(COSIGNATURES).where(
                    COSIGNATURES.c.name == name, COSIGNATURES.c.size < oldest
                )
            )

    def _signer(self, note: Note, line: str) -> tuple[str, str]:
        """Return the name of the cosigner whose valid signature a line is, and the line."""
        signed = note.with_lines([line])
        for name, key in self._cosigners.items():
            if cosigned_at(signed, name, key) is not None:
                return name, signed.signatures[-1].text()
        raise ProofInvalid(
            "The line is not by a cosigner that this server knows; ask its operator to add the key "
            "to TRISEAL_COSIGNERS or TRISEAL_WITNESSES."
        )

    def _note(self, session: Session, size: int) -> Note:
        text = session.scalar(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == size))
        if text is None:
            raise LogInconsistent(
                f"The checkpoint of {size} entries is missing. Restore the database from a backup."
            )
        lines = session.scalars(
            select(COSIGNATURES.c.line)
            .where(COSIGNATURES.c.size == size, COSIGNATURES.c.name.in_(list(self._cosigners)))
            .order_by(COSIGNATURES.c.name)
        ).all()
        return Note.parse(text).with_lines(lines)
