"""The permits for `decide`, `explain` and `reasons`: what each party allows the server to run.

Every party whose data a program uses issues a permit for the application, the program, the public
model and the messages that the program evaluates. The comparison that follows a program
(`decide_sign` and the like) only opens what that program has computed, under masks that every
party has to contribute: the permit of the program covers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from engines.interface import (
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLANATION_INPUTS,
    PROGRAMS,
    PUBLIC_KEY,
    REASONS,
    PublicModel,
)
from engines.statement import slot_name
from governance.permits import Use
from governance.requests import Action, Run

AUDIENCE = "urn:triseal:server"
"""The audience of these permits, the server on which the application is open. Its address is not
part of it, since a server may have several; the application's id is random and its own."""
_DATA = (ENCRYPTED_INPUTS, EXPLANATION_INPUTS)
_COVERED = (PUBLIC_KEY, EVALUATION_KEY, *_DATA)
"""The files whose digests a permit has: the data and the key. The others of a program, such as the
challenge of its check, are made from what the parties have agreed to."""


def action_of(program: str) -> Action:
    """Return the action that a run of the program is, as owners and the policy know it.

    The reasons for a decision explain it, so consent to an explanation covers them.
    """
    return "explain" if program == REASONS else cast(Action, program)


def run_claim(program: str) -> Run | None:
    """Return the claim `run` of a permit: the program if its action has another name, or None."""
    return "reasons" if program == REASONS else None


def programs_of(public: PublicModel, action: Action) -> tuple[str, ...]:
    """Return the programs of a deployment that an action allows, in the order of PROGRAMS."""
    return tuple(p for p in PROGRAMS if p in public.programs and action_of(p) == action)


def parties_of(public: PublicModel, program: str) -> tuple[str, ...]:
    """Return the parties whose permit a run needs, in the schema's order; none for a comparison."""
    if program not in PROGRAMS:
        return ()
    used = {s.party for s in public.slots if program in s.needed_for and s.file_name in _DATA}
    return tuple(name for name in public.schema_.party_names if name in used)


def covered_slots(public: PublicModel, program: str) -> tuple[tuple[str, str], ...]:
    """Return the party and the file name of the messages whose digests a permit has."""
    return tuple(
        (slot.party, slot.file_name)
        for slot in public.slots
        if program in slot.needed_for and slot.file_name in _COVERED
    )


def inputs_of(
    public: PublicModel, program: str, sha256: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """Return the digests that a permit has, by the names of the messages.

    `sha256` has the digests of all covered slots, in hexadecimal; raises KeyError without one.
    """
    return {slot_name(*slot): sha256[slot] for slot in covered_slots(public, program)}


def uses_of(
    public: PublicModel, client_id: str, program: str, sha256: Mapping[tuple[str, str], str]
) -> dict[str, Use]:
    """Return the uses that the permits for a run have to name, by party.

    `sha256` is as in `inputs_of`. The uses are made together, since the digest of the public model
    takes a while.
    """
    model, inputs = public.digest, inputs_of(public, program, sha256)
    return {
        party: Use(
            iss=party,
            sub=client_id,
            aud=AUDIENCE,
            action=action_of(program),
            run=run_claim(program),
            program=model,
            inputs=inputs,
            fields=tuple(column.name for column in public.schema_.party(party).columns),
        )
        for party in parties_of(public, program)
    }
