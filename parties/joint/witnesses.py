"""The witnesses that a party requires: its own list, or those that the server names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contract.http import Witness
from utils.errors import PartiesDisagree


def required_witnesses(own: Mapping[str, str] | None, named: Sequence[Witness]) -> dict[str, str]:
    """Return the names, by public key, of the witnesses that must sign an application's results.

    `own` is the party's list, None if it has none, and `named` the application's witnesses as the
    server gives them. Raises PartiesDisagree if the two have different keys.
    """
    by_server = {witness.key: witness.name for witness in named}
    if own is None:
        return by_server
    if set(own) != set(by_server):
        raise PartiesDisagree(
            "The application's witnesses are not those that this party requires "
            "(TRISEAL_TRUSTED_WITNESSES): the server names "
            f"{_listed(by_server)} instead of {_listed(own)}. Ask the server's operator to set "
            "TRISEAL_WITNESSES to the same list, and open a new application."
        )
    return dict(own)


def witness_words(names: Sequence[str]) -> str:
    """Return the line that tells a person who checks the server's evaluation."""
    if not names:
        return "No witness: the server is trusted to evaluate the program that it says."
    listed = " and ".join(names)
    return f"Opened only if signed by the witness{'es' if len(names) > 1 else ''} {listed}."


def _listed(witnesses: Mapping[str, str]) -> str:
    return ", ".join(f"{name[:40]} ({key[:8]})" for key, name in witnesses.items()) or "none"
