"""The stage's card of the witnesses: name, key, and what the demonstration's own witness signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from contract.http import ApplicationState, Witness
from parties.client import ServerClient
from parties.joint.witnesses import witness_words
from parties.results import PROGRAM_WORDS
from ui.error_words import error_words, words_html
from ui.units import escape
from utils.errors import TrisealError

SECONDS = 1.0
"""Longest wait for a witness's status."""
LARGEST_STATUS = 64 * 1024


def witness_card(client: ServerClient, status: Mapping[str, Any]) -> str:
    """Return the card, from the server's list and the status of the witness on this machine."""
    try:
        witnesses = client.witnesses().items
    except TrisealError as error:
        return words_html(error_words(error, goes_on=True), "ts-stale", "status")
    words = f'<p class="ts-note">{escape(witness_words([w.name for w in witnesses]))}</p>'
    return words + "".join(_facts(witness, status) for witness in witnesses)


def witness_note(state: ApplicationState) -> str:
    """Return which witness has not signed a finished run yet, or refused it; empty if none."""
    texts = []
    for program, run in state.programs.items():
        if run.status != "done":
            continue
        for witness in state.witnesses:
            said = run.statements.get(witness.key)
            what = PROGRAM_WORDS.get(program, program)
            if said is None:
                texts.append(f"Waiting for the witness {witness.name} to sign {what}.")
            elif said.refusal is not None:
                texts.append(f"The witness {witness.name} refused to sign {what}. Not opened.")
    return "".join(f'<p class="ts-stale" role="status">{escape(text)}</p>' for text in texts)


def _facts(witness: Witness, status: Mapping[str, Any]) -> str:
    print_ = " ".join(witness.key[i : i + 4] for i in range(0, 20, 4))
    facts = [("Witness", f"{witness.name}, own process"), ("Key", print_)]
    if status.get("key") == witness.key:
        last = status["last"][0] if status.get("last") else None
        facts.append(("Signed", str(status.get("signed", 0))))
        facts.append(("Refused", str(status.get("refused", 0))))
        if isinstance(last, dict):
            said = last.get("refusal") or "signed"
            program = str(last.get("program"))
            what = PROGRAM_WORDS.get(program, program)
            facts.append(("Last", f"{what} of {last.get('application')}: {said}"))
        if status.get("problem"):
            facts.append(("Problem", str(status["problem"])))
    else:
        facts.append(("Status", "not reachable from this page"))
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="ts-facts" data-witness="{escape(witness.name)}">{items}</dl>'


def witness_status(port: int) -> dict[str, Any]:
    """Return the status of the witness at a port of this machine; empty if none responds."""
    try:
        with httpx.Client(timeout=SECONDS, trust_env=False) as http:
            answer = http.get(f"http://127.0.0.1:{port}/status")
        if answer.status_code != 200 or len(answer.content) > LARGEST_STATUS:
            return {}
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
