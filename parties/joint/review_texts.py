"""Sealing of the texts of a review, between the applicant and the lender.

Both keep a key of their own for it, which follows from the key of their messages. It seals nothing
else, so that it may stay after all other keys of the application are erased. The cipher is
ChaCha20-Poly1305 (RFC 8439), with a fresh random nonce of 96 bits; texts are padded to multiples of
512 bytes, so that their sizes tell little.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from parties.joint.channel import NONCE_BYTES, framed
from utils.errors import InvalidRequest, NotAuthentic

MOST_CHARACTERS = 2000
STATEMENT, WORDS = "statement", "words"
"""The two texts: the applicant's statement, and the lender's words on the outcome."""


def words_on(outcome: str) -> str:
    """Return the kind of the words on an outcome, so that they open with no other outcome."""
    return f"{WORDS} {outcome}"


_FORMAT = b"triseal review 1"
_PADDING = 512


@dataclass(frozen=True)
class ReviewTexts:
    """Seals and opens the texts of one application's review; `key` has 32 bytes."""

    key: bytes
    client_id: str

    def seal(self, kind: str, text: str) -> str:
        """Return a text, sealed, in base64; `kind` is STATEMENT, or from `words_on`.

        Raises InvalidRequest if the text is empty or longer than MOST_CHARACTERS.
        """
        text = text.strip()
        if not text or len(text) > MOST_CHARACTERS:
            raise InvalidRequest(f"Write 1 to {MOST_CHARACTERS} characters; these are {len(text)}.")
        data = text.encode(errors="replace")  # a page may send half of a surrogate pair
        padded = len(data).to_bytes(2, "little") + data
        padded += bytes(-len(padded) % _PADDING)
        nonce = os.urandom(NONCE_BYTES)
        sealed = ChaCha20Poly1305(self.key).encrypt(nonce, padded, self._context(kind))
        return base64.b64encode(nonce + sealed).decode()

    def open(self, kind: str, sealed: str) -> str:
        """Return the text; raises NotAuthentic if it was altered, or sealed with another key."""
        try:
            data = base64.b64decode(sealed, validate=True)
            key = ChaCha20Poly1305(self.key)
            padded = key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._context(kind))
            return padded[2 : 2 + int.from_bytes(padded[:2], "little")].decode()
        except (InvalidTag, ValueError) as error:
            raise NotAuthentic(
                "The text of the review cannot be opened: it was altered, or its sender used "
                "another key. Ask the other side to send it by another way."
            ) from error

    def _context(self, kind: str) -> bytes:
        return framed(_FORMAT, self.client_id.encode(), kind.encode())
