"""The digest of everything that a training has announced so far.

Every upload is signed together with this digest. A coordinator that told two lenders different
results would get statements that differ, and a lender reveals nothing before it has seen equal
statements of the whole roster.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel

from parties.joint.channel import framed

_DOMAIN = b"triseal federated transcript 1"


def run_digest(training_id: str, plan: str, hellos: bytes) -> bytes:
    """Return the digest that names a training: its id, its plan's digest and all hellos'."""
    parts = (_DOMAIN, b"run", training_id.encode(), plan.encode(), hellos)
    return hashlib.sha256(framed(*parts)).digest()


def extended(digest: bytes, result: BaseModel) -> bytes:
    """Return the transcript's digest after one more result."""
    content = result.model_dump_json().encode()
    return hashlib.sha256(framed(_DOMAIN, b"result", digest, content)).digest()
