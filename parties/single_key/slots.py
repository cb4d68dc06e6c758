"""Putting a sealed message into its slot on the server, and making sure that it arrived whole."""

from __future__ import annotations

from time import perf_counter

from engines.interface import slot_of
from parties.connection import Connection
from parties.results import SERVER, Message, digest, preview
from utils.errors import MalformedMessage, UnknownName, UploadTooLarge


def send_slot(
    connection: Connection,
    client_id: str,
    party: str,
    token: str,
    file_name: str,
    message: bytes,
    what: str,
) -> Message:
    """Send a sealed message to the party's slot; `what` names it for people.

    Raises UnknownName, UploadTooLarge before any request, MalformedMessage where the server did
    not get what was sent, and what the server reports.
    """
    slot = slot_of(connection.public.slots, party, file_name)
    if slot is None:
        raise UnknownName(f"The engine has no slot {file_name} for {party}.")
    if len(message) > slot.maximum_bytes:
        raise UploadTooLarge(
            f"{file_name} of {party} has {len(message)} bytes; its slot takes at most "
            f"{slot.maximum_bytes}. Load the current model and make it again."
        )
    start = perf_counter()
    receipt = connection.client.send_file(client_id, party, file_name, message, token)
    seconds = perf_counter() - start
    sha256 = digest(message)
    if receipt.sha256 != sha256 or receipt.bytes != len(message):
        raise MalformedMessage(
            f"The server received another {file_name} than {party} sent; send it again."
        )
    return Message(party, SERVER, what, len(message), seconds, sha256, preview(message))
