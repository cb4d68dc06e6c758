"""`python -m trials.well_formed`: run the check of inputs on honest and on forged uploads.

Prints the false alarms of honest applications, the measured noise beside the model's, times, and
how many forgeries of each kind were caught and attributed to their party alone.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.levelled.ceremony import WholeKey, pairwise_keys
from engines.levelled.challenge import challenge
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.noise import NoiseBudget
from engines.levelled.opening import opened, partial, rerandomise
from engines.levelled.parameters import SEED_BYTES, WIDE_NOISE
from engines.levelled.randomness import Expander
from engines.levelled.relations import Relations
from engines.levelled.well_formed import (
    CHECK_BITS,
    CHECKED,
    check_budget,
    check_ciphertext,
    check_variance,
    verdict,
)
from engines.levelled.words import Integers, Words
from features.encoding import Bits, Layout
from features.schema import Schema
from model.polynomial import sample_states
from settings import ROOT
from trials.forged_inputs import FORGED_BITS, FORGED_RECORDS, Forger, forged_upload
from utils.terminal import print_any_text

Checks = Mapping[str, tuple[Words, Words]]


def opened_checks(key: WholeKey, checks: Checks, budget: NoiseBudget) -> dict[str, Integers]:
    """Open all checks as the server and all parties do, with flooding and smudges."""
    pairwise = pairwise_keys(list(key.secrets))
    values = {}
    for owner, (mask, body) in checks.items():
        result = rerandomise(
            mask,
            body,
            CHECKED,
            budget.sigma_flood,
            key.public,
            key.parameters,
            Expander.fresh(),
        )
        digest = hashlib.sha256(result.to_bytes()).digest()
        parts = {
            party: partial(
                result, digest, party, key.public, own, budget.sigma_smudge, pairwise[party]
            )
            for party, own in key.secrets.items()
        }
        values[owner] = opened(result, parts, CHECK_BITS)
    return values


def uploads_of(key: WholeKey, layout: Layout, row: Bits) -> dict[str, Ggsw]:
    """Encrypt a whole record, each party's bits as its upload."""
    forger = Forger(key.public, key.parameters)
    return {
        party: forger.encrypted(row[layout.party_bits(party)])
        for party in layout.schema.party_names
    }


def encoded(upload: Ggsw) -> tuple[EncodedGgsw, bytes]:
    """Return an upload as the server has it, and its digest."""
    data = upload.to_bytes(WIDE_NOISE)
    return EncodedGgsw(data, upload.bits, WIDE_NOISE), hashlib.sha256(data).digest()


def checks_of(key: WholeKey, layout: Layout, uploads: Mapping[str, Ggsw]) -> tuple[Checks, float]:
    """Return the checks of uploads under a new challenge, and their processor time in seconds."""
    sent = {party: encoded(upload) for party, upload in uploads.items()}
    digests = {party: digest for party, (_, digest) in sent.items()}
    nonces = {party: os.urandom(SEED_BYTES) for party in sent}
    seed = challenge(b"trial", digests, nonces)
    received = {party: ciphertexts for party, (ciphertexts, _) in sent.items()}
    start = time.process_time()
    checks = check_ciphertext(key.public, received, layout, seed, WIDE_NOISE)
    return checks, time.process_time() - start


def extreme_rows(layout: Layout) -> Bits:
    """Return the records of all first and of all last states; the last is missing if optional."""
    first = np.array([code.first_state for code in layout.codes], np.int64)
    last = first + np.array([code.n_states - 1 for code in layout.codes], np.int64)
    return layout.bits_of_states(np.stack([first, last]))


def honest(layout: Layout, count: int, seed: int) -> int:
    """Run honest applications, each under new keys of 10, and return the number of alarms."""
    budget = check_budget(layout, WIDE_NOISE)
    parties = layout.schema.party_names
    drawn = layout.bits_of_states(sample_states(layout, count, seed=seed))
    rows = np.concatenate([extreme_rows(layout), drawn])[:count]
    alarms, times = 0, []
    squares: dict[str, list[float]] = {party: [] for party in parties}
    worst = 0.0
    for i, row in enumerate(rows):
        if i % 10 == 0:
            key = WholeKey.make(parties, WIDE_NOISE)
        checks, seconds = checks_of(key, layout, uploads_of(key, layout, row))
        times.append(seconds)
        alarms += len(verdict(opened_checks(key, checks, budget)))
        for party, check in checks.items():
            errors = _errors(key, check)
            squares[party].append(float((errors**2).mean()))
            worst = max(worst, float(np.abs(errors).max()))
    print(f"{count} honest applications, {layout.n_bits} bits: {alarms} false alarms")
    for party, found in squares.items():
        own = Relations.of(layout, party)
        variance = check_variance(own, WIDE_NOISE, len(parties))
        print(
            f"  {party}, {own.bits} bits: noise 2^{math.log2(np.mean(found)) / 2:.2f}, "
            f"model 2^{math.log2(variance) / 2:.2f}"
        )
    print(
        f"  largest error 2^{math.log2(worst):.2f}, tolerance 2^{math.log2(budget.half_step):.0f}; "
        f""
        f"smudge 2^{math.log2(budget.sigma_smudge):.2f}, room {budget.room:.2f} bits, "
        f"false alarm 2^{budget.failure_log2:.1f}"
    )
    print(
        f"  processor time of a check: median {1e3 * np.median(times):.0f} ms, "
        f"95 % below {1e3 * np.quantile(times, 0.95):.0f} ms"
    )
    return alarms


def _errors(key: WholeKey, check: tuple[Words, Words]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.ldexp(key.phase(*check).view(np.int64), -64)
    return errors


def forged(layout: Layout, tries: int, seed: int) -> int:
    """Run every kind of forgery by a random party; return how many were not caught, or misnamed."""
    budget = check_budget(layout, WIDE_NOISE)
    generator = np.random.default_rng(seed)
    parties = layout.schema.party_names
    missed = 0
    for kind in (*FORGED_BITS, *FORGED_RECORDS):
        caught = made = 0
        rows = layout.bits_of_states(sample_states(layout, tries, seed=seed))
        for row in rows:
            key = WholeKey.make(parties, WIDE_NOISE)
            uploads = uploads_of(key, layout, row)
            forger = Forger(key.public, WIDE_NOISE)
            cheats = [p for p in generator.permutation(parties).tolist() if _can(layout, p, kind)]
            if not cheats:
                continue
            own = layout.party_bits(cheats[0])
            uploads[cheats[0]] = forged_upload(
                kind, layout.party_codes(cheats[0]), row[own], forger, generator
            )
            checks, _ = checks_of(key, layout, uploads)
            made += 1
            caught += verdict(opened_checks(key, checks, budget)) == (cheats[0],)
        missed += made - caught
        print(f"  {kind}: {caught} of {made}", flush=True)
    return missed


def _can(layout: Layout, party: str, kind: str) -> bool:
    codes = layout.party_codes(party)
    return kind in FORGED_BITS or any(FORGED_RECORDS[kind][0](code) for code in codes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts; return 1 if there was a false alarm or a forgery passed."""
    print_any_text()
    parser = CommandParser(prog="trials.well_formed", description=__doc__)
    parser.add_argument(
        "--honest",
        type=int,
        default=500,
        metavar="APPLICATIONS",
        help="number of honest applications",
    )
    parser.add_argument("--tries", type=int, default=20, help="of each kind of forgery")
    parser.add_argument("--seed", type=int, default=1, help="seed of the records")
    given = parser.parse_args(arguments)
    layout = Layout(Schema.load(ROOT / "features" / "credit_card.json"))
    wrong = honest(layout, given.honest, given.seed) if given.honest else 0
    if given.tries:
        wrong += forged(layout, given.tries, given.seed)
    return int(wrong > 0)


if __name__ == "__main__":
    run_command(main)
