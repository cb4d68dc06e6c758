"""Texts on joint keys for the stage and the parties' pages: who holds what, what is protected.

Parties' names come from the schema, statements about keys from the engine's own facts.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.interface import DECIDE, PublicModel
from features.schema import Party
from ui.reasons import reasons_limit
from ui.texts import COMPARE_MODELS, about_model, hidden_score, referral_limit, two_lists
from ui.units import escape, join_words, number_word


def stage_introduction(public: PublicModel) -> str:
    """Return the page header: title, summary, engine and model."""
    schema = public.schema_
    names = [party.label.lower() for party in schema.parties]
    count = number_word(len(names))
    return f"""
<header class="ts-head ts-head-stage">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(schema.title)}, decided on encrypted data</h1>
  <p class="ts-lead">{count} parties ({escape(join_words(names))}) each know a part of one
  application. Each runs its own process, with its own page below. Together they make a key that no
  one holds whole, encrypt their records under it, and open the result. A server without any
  decryption key computes an XGBoost credit decision on the ciphertexts.</p>
  <p class="ts-chips"><span>Engine: {escape(public.engine.label)}</span>
  <span>Model fingerprint: {escape(public.fingerprint)}</span>
  <span>A demonstration, not a credit decision</span></p>
  <p class="ts-note">{COMPARE_MODELS}</p>
</header>"""


def stage_holds(public: PublicModel) -> str:
    """Return the table of what the parties, the server and the stage hold."""
    rows = [
        ("A party's record", "only its owner, in the clear", "never", "never"),
        ("Encrypted records", "each its own", "all, but cannot read them", "never"),
        ("Secret key", public.engine.secret_key, "never", "never"),
        (
            "A party's part of the secret key",
            "only its owner's process and folder; erased with the application",
            "never",
            "never",
        ),
        ("Public key", "all parties", "yes; it encrypts but cannot decrypt", "never"),
        (
            "Join codes",
            "each its own, with the secret that authenticates the parties to each other",
            "its half of each code, never the parties' secret",
            "yes; it makes them and puts them in the frames' addresses",
        ),
        (
            "The token that opens a party's page",
            "each its own",
            "never",
            "all of them in the demonstration, in the frames' addresses",
        ),
        (
            "The token of the calls that play an example",
            "each its own, in the demonstration only",
            "never",
            "all of them: with these it has the parties send an example and agree",
        ),
        (
            "Messages between the parties",
            "those it sends and receives",
            "relays them sealed, cannot read them",
            "sizes and times",
        ),
        ("Decision and explanation", public.engine.opened, "encrypted, cannot open them", "never"),
        ("The model's trees", "never; only the schema is public", "yes, in the clear", "never"),
        ("Message sizes, times, order", "each its own", "all of them", "all, with its watch token"),
    ]
    return _table(("Parties", "Server", "This page"), rows)


def stage_protection(public: PublicModel) -> str:
    """Return two lists: the protections, and their limits."""
    schema, others = public.schema_, len(public.schema_.parties) - 1
    together = "the other" if others == 1 else f"the other {number_word(others).lower()}"
    good = [
        "The records, from the server: it computes on ciphertexts and has no decryption key.",
        f"A party's record, from {together}, even if they collude with the server: nothing can be "
        "decrypted without that party's own part of the key.",
        "The decision and the explanation, from the server and from every party that is not a "
        "reader of the application.",
        "The messages between the parties, from the server that relays them: they are sealed.",
        "The place of a pinned institution, from everybody else: only the holder of its identity "
        "key can take part as this institution.",
        "The model's trees, from the parties.",
    ]
    bad, owner = [], schema.party(schema.explained_party).label.lower()
    if public.opens_sign(DECIDE):
        good.append(hidden_score(public))
        bad.append(
            f"A part of the {owner}'s value of “{schema.explained_column.label}”, once an "
            "explanation is opened: the applicant's own range is one of those that it shows with "
            "the decision itself."
        )
    else:
        bad.append(
            "The score: it is opened with the decision and shows how close the decision was. The "
            "scores of many chosen records would reveal something about the model."
        )
        bad.append(
            f"The {owner}'s value of “{schema.explained_column.label}”, once an explanation is "
            "opened: it gives the score of every range, and the range whose score equals the "
            "decision's is the applicant's own."
        )
    bad += referral_limit(public)
    varied = [f"“{schema.column(a.column).label}”" for a in schema.explanation.alternatives]
    if varied:
        bad.append(
            f"Something of {join_words(varied)}, once an explanation is opened: it tries a few "
            "values of these as well."
        )
    bad += reasons_limit(public)
    bad += [
        "Against a dishonest server whose application has no witness, or that colludes with all of "
        "its witnesses: it is trusted to evaluate the right program. Parties are trusted to follow "
        "the protocol; docs/PROTOCOL.md lists the deviations that are detected.",
        "Against the maker of the join codes, here this page: it could join in place of a party "
        "that the others have not pinned, for example the applicant. Every page says "
        "which parties are pinned. The parties notice if they compare the key's fingerprint over "
        "another channel.",
        "In this demonstration, against this page: it can have the parties send a shipped example "
        "and agree to results, which it does not see. Agents outside the demonstration have no "
        "such calls.",
        "In this demonstration, against the user who runs it: all processes run on one machine "
        "under one user, who could read every folder. In production each party runs its own.",
    ]
    return two_lists(good, bad) + about_model(public)


def agent_holds(public: PublicModel, party: Party) -> str:
    """Return the lists of what one party's process holds and what it never receives."""
    others = [other.label.lower() for other in public.schema_.parties if other is not party]
    of_others = escape(join_words([f"the {name}" for name in others]))
    holds = [
        "its own record",
        "its own part of the secret key, in a folder that only its user can read",
        "the public key, under which all records are encrypted",
        "the secret in the join code, which authenticates the parties to each other",
        "an institution's identity key, made once; a person's is made for each application",
        "the results, once opened, if it is a reader of the application",
    ]
    never = [
        f"the records of {of_others}",
        "the whole secret key, which exists nowhere, or another party's part of it",
        "the other parties' ciphertexts",
        "the model's trees",
    ]
    lists = "".join(
        f"<div><h3>{title}</h3><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul></div>"
        for title, items in (("This process holds", holds), ("It never receives", never))
    )
    return f'<div class="ts-two">{lists}</div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("Item", *heads))
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th>'
        + "".join(
            f'<td data-who="{escape(head)}">{escape(cell)}</td>'
            for head, cell in zip(heads, cells, strict=True)
        )
        + "</tr>"
        for what, *cells in rows
    )
    return (
        '<table class="ts-table ts-holds"><caption>Who holds what</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"
    )
