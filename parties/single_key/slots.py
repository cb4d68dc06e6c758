"""Uploads of sealed messages to their slots on the server, with a check of the receipt."""

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
    """Send a sealed message to the party's slot; `what` is its description for people.

    Raises UnknownName or UploadTooLarge before any request, MalformedMessage if the server
    received different bytes, and the error that the server reports.
    """
    slot = slot_of(connection.public.slots, party, file_name)
    if slot is None:
        raise UnknownName(f"The engine has no slot {file_name} for {party}.")
    if len(message) > slot.maximum_bytes:
        raise UploadTooLarge(
            f"{file_name} of {party} has {len(message)} bytes; its slot takes at most "
            f"{slot.maximum_bytes}. Load the current model and encrypt again."
        )
    start = perf_counter()
    receipt = connection.client.send_file(client_id, party, file_name, message, token)
    seconds = perf_counter() - start
    sha256 = digest(message)
    if receipt.sha256 != sha256 or receipt.bytes != len(message):
        raise MalformedMessage(
            f"The server received different bytes for {file_name} than {party} sent; send it again."
        )
    return Message(party, SERVER, what, len(message), seconds, sha256, preview(message))
