"""The parts of a sealed result: a program's outcome and, if inputs are checked, every check's.

Each part is a ciphertext with the coefficients that are opened of it (opening.py). The checks that
inputs are bits (well_formed.py), one of every party, follow the outcome of the decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engines.interface import DECIDE, PublicModel
from engines.levelled.opening import Result
from engines.levelled.parameters import KNOWN_ZEROS, WORD_BYTES, Parameters
from engines.levelled.well_formed import CHECK_OUTPUTS
from utils.errors import MalformedMessage


def has_checks(public: PublicModel, program: str) -> bool:
    """Return True if the program's results contain the checks of all parties' inputs."""
    return program == DECIDE and public.checked


def outputs_of_parts(public: PublicModel, program: str) -> list[int]:
    """Return the number of outputs of every part of the program's result, without known zeros."""
    own = len(public.programs[program].outputs)
    checks = len(public.schema_.parties) if has_checks(public, program) else 0
    return [own, *[CHECK_OUTPUTS] * checks]


def join_results(parts: Iterable[Result]) -> bytes:
    """Return the payload of a result with these parts."""
    return b"".join(part.to_bytes() for part in parts)


def split_results(
    payload: bytes | memoryview, parameters: Parameters, outputs: Sequence[int]
) -> list[Result]:
    """Decode the parts of a result; raises MalformedMessage if its length is wrong."""
    sizes = {count: parameters.result_bytes(count) for count in outputs}
    expected = sum(sizes[count] for count in outputs)
    if len(payload) != expected:
        raise MalformedMessage(
            f"The result has {len(payload)} bytes instead of {expected}; fetch it again."
        )
    parts, start = [], 0
    for count in outputs:
        parts.append(Result.from_bytes(payload[start : start + sizes[count]], parameters, count))
        start += sizes[count]
    return parts


def split_shares(shares: Mapping[str, bytes], outputs: Sequence[int]) -> list[dict[str, bytes]]:
    """Return every party's share of each part; raises MalformedMessage if a length is wrong."""
    sizes = [(count + KNOWN_ZEROS) * WORD_BYTES for count in outputs]
    for party, share in shares.items():
        if len(share) != sum(sizes):
            raise MalformedMessage(
                f"The decryption share of {party[:40]} has {len(share)} bytes instead of "
                f"{sum(sizes)}; it cannot be used. Open a new application."
            )
    parts, start = [], 0
    for size in sizes:
        parts.append({party: share[start : start + size] for party, share in shares.items()})
        start += size
    return parts
