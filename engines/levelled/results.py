"""The parts of a sealed result: a program's outcome, and ciphertexts that are opened with it.

Each part is a ciphertext with the coefficients that are opened of it (opening.py). The checks that
inputs are bits (well_formed.py), one of every party, follow the outcome of the decision.

Scores open with the known zeros after them, from one ciphertext. Of signs, the known zeros are a
part of their own, a fresh encryption of zero. Nobody checks that masks are bits, and masks that are
polynomials move values of the comparison's table to any coefficient of its outcome, where the known
zeros would show them to a reader (tests/attacks/test_forged_masks.py). So nothing but the signs is
opened of that outcome. Known zeros of any ciphertext detect a wrong share equally well, since a
party derives its shares of all parts from one secret and one digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engines.interface import DECIDE, MASKED_BY, PublicModel
from engines.levelled.opening import Result
from engines.levelled.parameters import KNOWN_ZEROS, WORD_BYTES, Parameters
from engines.levelled.well_formed import CHECKED
from utils.errors import MalformedMessage


def has_checks(public: PublicModel, program: str) -> bool:
    """Return True if the program's results contain the checks of all parties' inputs."""
    return program == DECIDE and public.checked


def zeros_apart(program: str) -> bool:
    """Return True if the known zeros are a part of their own: for signs."""
    return program in MASKED_BY


def coefficients_of_parts(public: PublicModel, program: str) -> list[int]:
    """Return how many coefficients are opened of every part of the program's result."""
    own = len(public.programs[program].outputs)
    outcome = [own, KNOWN_ZEROS] if zeros_apart(program) else [own + KNOWN_ZEROS]
    checks = len(public.schema_.parties) if has_checks(public, program) else 0
    return [*outcome, *[CHECKED] * checks]


def join_results(parts: Iterable[Result]) -> bytes:
    """Return the payload of a result with these parts."""
    return b"".join(part.to_bytes() for part in parts)


def split_results(
    payload: bytes | memoryview, parameters: Parameters, counts: Sequence[int]
) -> list[Result]:
    """Decode the parts of a result, of which these numbers of coefficients are opened.

    Raises MalformedMessage if its length is wrong.
    """
    sizes = {count: parameters.result_bytes(count) for count in counts}
    expected = sum(sizes[count] for count in counts)
    if len(payload) != expected:
        raise MalformedMessage(
            f"The result has {len(payload)} bytes instead of {expected}; fetch it again."
        )
    parts, start = [], 0
    for count in counts:
        parts.append(Result.from_bytes(payload[start : start + sizes[count]], parameters, count))
        start += sizes[count]
    return parts


def split_shares(shares: Mapping[str, bytes], counts: Sequence[int]) -> list[dict[str, bytes]]:
    """Return every party's share of each part; raises MalformedMessage if a length is wrong."""
    sizes = [count * WORD_BYTES for count in counts]
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
