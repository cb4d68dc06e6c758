"""The cost of the defences against the server: whole applications with and without each.

A deployment that opens scores has no masks, no comparison and no check of inputs. The rounds of
messages in which the parties commit to their records and confirm results belong to the protocol and
are in every figure.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from engines.deployment import Deployment, write_manifest
from engines.levelled.build import SCORE, SIGN, build
from engines.levelled.messages import NAME
from features.encoding import Bits
from training.measure.application_time import application_time
from utils.scratch_folder import scratch_folder

ROUNDS = 5


def defences(folder: Path, bits: Bits, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure applications that open scores or signs, without and with a witness.

    `bits` (rows, n_bits) are the applicants. Raises the errors of `application_time`.
    """
    deployment = Deployment.load(folder)
    programs = deployment.programs_of(NAME)
    found = []
    with scratch_folder("triseal-defences-") as temporary:
        folders = {SIGN: folder, SCORE: temporary / "scores"}
        shutil.copytree(folder, folders[SCORE])
        facts = build(lambda _: programs, deployment.layout, folders[SCORE], opens=SCORE)
        write_manifest(folders[SCORE], deployment.manifest.engines | {NAME: facts})
        for opens in (SCORE, SIGN):
            for witnessed in (False, True):
                own = application_time(folders[opens], programs, bits, rounds, witnessed=witnessed)
                found.append(
                    {
                        "opens": opens,
                        "witness": witnessed,
                        "seconds": own["seconds"],
                        "processor_seconds": own["processor_seconds"],
                        "sent_bytes": sum(own["bytes"]["sent"].values()),
                    }
                )
    return found
